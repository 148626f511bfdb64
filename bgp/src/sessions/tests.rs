//! Two or more [`Sessions`] on a virtual clock, wired to each other without sockets.

mod basics;
mod collision;
mod graceful;
mod reconfigure;
mod world;
