//! Our speaker with every other maker's, each question asked of each.
//!
//! What passes is noted for docs/interop.md ([`corduroy_tests::interop`]).

mod guards;
mod pair;
mod restart;
mod routes;

use corduroy_tests::daemons::{Bird, ExaBgp, Frr, GoBgp, OpenBgpd};

/// The questions, asked of one daemon.
macro_rules! interop {
    ($daemon:ident, $start:expr, [$($part:ident :: $question:ident => $name:ident),+ $(,)?]) => {
        mod $daemon {
            use super::*;
            $(#[test] fn $name() { $part::$question($start); })+
        }
    };
}

interop!(bird, Bird::start, [
    routes::both_ways => routes_go_both_ways_in_both_families,
    routes::external => attributes_go_both_ways_over_ebgp,
    routes::internal => attributes_go_both_ways_over_ibgp,
    routes::reflected => it_is_a_client_of_our_reflector,
    routes::reflecting => we_are_a_client_of_its_reflector,
    routes::extended => a_message_may_be_longer_than_4096_octets,
    routes::refresh_by_us => it_sends_its_routes_again_when_asked,
    routes::refresh_by_it => we_send_our_routes_again_when_asked,
    guards::md5 => md5_guards_the_sessions,
    guards::ttl_security => ttl_security_guards_the_sessions,
    guards::its_shutdown => the_text_of_its_shutdown_is_shown,
    guards::our_shutdown => the_text_of_our_shutdown_is_shown_there,
    restart::we_restart => our_restart_withdraws_nothing,
    restart::it_restarts => its_restart_loses_nothing,
]);
interop!(frr, Frr::start, [
    routes::both_ways => routes_go_both_ways_in_both_families,
    routes::external => attributes_go_both_ways_over_ebgp,
    routes::internal => attributes_go_both_ways_over_ibgp,
    routes::reflected => it_is_a_client_of_our_reflector,
    routes::reflecting => we_are_a_client_of_its_reflector,
    routes::extended => a_message_may_be_longer_than_4096_octets,
    routes::refresh_by_us => it_sends_its_routes_again_when_asked,
    routes::refresh_by_it => we_send_our_routes_again_when_asked,
    guards::md5 => md5_guards_the_sessions,
    guards::ttl_security => ttl_security_guards_the_sessions,
    guards::its_shutdown => the_text_of_its_shutdown_is_shown,
    guards::our_shutdown => the_text_of_our_shutdown_is_shown_there,
    restart::we_restart => our_restart_withdraws_nothing,
    restart::it_restarts => its_restart_loses_nothing,
]);
interop!(gobgp, GoBgp::start, [
    routes::both_ways => routes_go_both_ways_in_both_families,
    routes::external => attributes_go_both_ways_over_ebgp,
    routes::internal => attributes_go_both_ways_over_ibgp,
    routes::reflected => it_is_a_client_of_our_reflector,
    routes::reflecting => we_are_a_client_of_its_reflector,
    routes::refresh_by_us => it_sends_its_routes_again_when_asked,
    guards::md5 => md5_guards_the_sessions,
    guards::ttl_security => ttl_security_guards_the_sessions,
    guards::its_shutdown => the_text_of_its_shutdown_is_shown,
    guards::our_shutdown => the_text_of_our_shutdown_is_shown_there,
    restart::we_restart => our_restart_withdraws_nothing,
    restart::it_restarts => its_restart_loses_nothing,
]);
interop!(openbgpd, OpenBgpd::start, [
    routes::both_ways => routes_go_both_ways_in_both_families,
    routes::external => attributes_go_both_ways_over_ebgp,
    routes::internal => attributes_go_both_ways_over_ibgp,
    routes::reflected => it_is_a_client_of_our_reflector,
    routes::reflecting => we_are_a_client_of_its_reflector,
    routes::refresh_by_it => we_send_our_routes_again_when_asked,
    guards::md5 => md5_guards_the_sessions,
    guards::ttl_security => ttl_security_guards_the_sessions,
    guards::its_shutdown => the_text_of_its_shutdown_is_shown,
    guards::our_shutdown => the_text_of_our_shutdown_is_shown_there,
    restart::we_restart => our_restart_withdraws_nothing,
]);
interop!(exabgp, ExaBgp::start, [
    routes::both_ways => routes_go_both_ways_in_both_families,
    routes::external => attributes_go_both_ways_over_ebgp,
    routes::internal => attributes_go_both_ways_over_ibgp,
    routes::reflected => it_is_a_client_of_our_reflector,
    routes::extended => a_message_may_be_longer_than_4096_octets,
    routes::refresh_by_us => it_sends_its_routes_again_when_asked,
    routes::refresh_by_it => we_send_our_routes_again_when_asked,
    guards::md5 => md5_guards_the_sessions,
    guards::ttl_security => ttl_security_guards_the_sessions,
    restart::it_restarts => its_restart_loses_nothing,
]);
