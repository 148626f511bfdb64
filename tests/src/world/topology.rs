//! The shapes that are built. Each draws its size and its details.

use super::plan::Plan;
use super::rng::Rng;

/// A shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One AS, everybody with everybody.
    Mesh,
    /// One AS, a reflector with clients, and non-clients that mesh with it.
    Reflector,
    /// One AS, two reflectors that every client has both of; in one cluster or in two.
    Reflectors,
    /// ASes in a row.
    Chain,
    /// Two ASes with several between them: equal-cost paths.
    Diamond,
    /// Racks: every node its own AS below a ToR, ToRs below spines of one AS.
    Clos,
    /// An AS of reflector and clients between two others, one of them attached twice.
    Transit,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 7] = [
        Self::Mesh,
        Self::Reflector,
        Self::Reflectors,
        Self::Chain,
        Self::Diamond,
        Self::Clos,
        Self::Transit,
    ];

    /// Builds one.
    #[must_use]
    pub fn build(self, rng: &mut Rng) -> Plan {
        let mut build =
            Build { plan: Plan::default(), stack: *rng.pick(&[Stack::V4, Stack::V6, Stack::Dual]) };
        match self {
            Self::Mesh => build.mesh(rng),
            Self::Reflector => build.reflector(rng),
            Self::Reflectors => build.reflectors(rng),
            Self::Chain => build.chain(rng),
            Self::Diamond => build.diamond(rng),
            Self::Clos => build.clos(rng),
            Self::Transit => build.transit(rng),
        }
        let mut plan = build.plan;
        for link in &mut plan.links {
            // One end that only listens is common (a ToR, a reflector); both would never meet.
            let end = rng.below(2);
            link.ends[end].passive = rng.chance(20);
            link.hold = *rng.pick(&[9, 9, 30, 90]);
            if rng.chance(20) {
                link.ends[0].password = Some("corduroy".into());
                link.ends[1].password = Some("corduroy".into());
            }
        }
        plan
    }
}

#[derive(Clone, Copy, Debug)]
enum Stack {
    V4,
    V6,
    Dual,
}

const AS: u32 = 64512;

struct Build {
    plan: Plan,
    stack: Stack,
}

impl Build {
    /// Joins two routers: a session for each family. Returns the links.
    fn join(&mut self, a: usize, b: usize) -> Vec<usize> {
        let families: &[bool] = match self.stack {
            Stack::V4 => &[false],
            Stack::V6 => &[true],
            Stack::Dual => &[false, true],
        };
        families.iter().map(|v6| self.plan.link(a, b, *v6)).collect()
    }

    fn routers(&mut self, asn: u32, n: usize) -> Vec<usize> {
        (0..n).map(|_| self.plan.router(asn)).collect()
    }

    fn join_all(&mut self, all: &[usize]) {
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                self.join(*a, *b);
            }
        }
    }

    fn client(&mut self, reflector: usize, client: usize) {
        for link in self.join(reflector, client) {
            self.plan.links[link].ends[0].client = true;
        }
    }

    fn mesh(&mut self, rng: &mut Rng) {
        let all = self.routers(AS, rng.between(2, 6));
        self.join_all(&all);
        self.multipath(rng);
    }

    fn reflector(&mut self, rng: &mut Rng) {
        let reflector = self.plan.router(AS);
        self.plan.routers[reflector].cluster = Some(7);
        let clients = self.routers(AS, rng.between(2, 5));
        clients.iter().for_each(|c| self.client(reflector, *c));
        let mut meshed = self.routers(AS, rng.below(3));
        meshed.push(reflector);
        self.join_all(&meshed);
        self.multipath(rng);
    }

    fn reflectors(&mut self, rng: &mut Rng) {
        let pair = self.routers(AS, 2);
        let one_cluster = rng.chance(50);
        for (cluster, r) in (7..).zip(&pair) {
            self.plan.routers[*r].cluster = Some(if one_cluster { 7 } else { cluster });
        }
        for client in self.routers(AS, rng.between(2, 4)) {
            pair.iter().for_each(|r| self.client(*r, client));
        }
        let mut meshed = self.routers(AS, rng.below(2));
        meshed.extend(&pair);
        self.join_all(&meshed);
        self.multipath(rng);
    }

    fn chain(&mut self, rng: &mut Rng) {
        let mut asn = AS;
        let mut last = self.plan.router(asn);
        for _ in 0..rng.between(2, 5) {
            // Now and then two routers of one AS follow each other.
            asn += u32::from(rng.chance(80));
            let next = self.plan.router(asn);
            self.join(last, next);
            last = next;
        }
    }

    fn diamond(&mut self, rng: &mut Rng) {
        let (top, bottom) = (self.plan.router(AS), self.plan.router(AS + 1));
        let one_as = rng.chance(50);
        for i in 0..rng.between(2, 4) {
            let middle = self.plan.router(AS + 2 + if one_as { 0 } else { u32::try_from(i).unwrap_or(0) });
            self.join(top, middle);
            self.join(middle, bottom);
        }
        self.multipath(rng);
        if rng.chance(50) {
            let beyond = self.plan.router(AS + 10);
            self.join(bottom, beyond);
        }
    }

    fn clos(&mut self, rng: &mut Rng) {
        let spines = self.routers(AS, 2);
        for rack in 1..=u32::try_from(rng.between(1, 3)).unwrap_or(1) {
            let tor = self.plan.router(AS + rack);
            spines.iter().for_each(|spine| drop(self.join(*spine, tor)));
            for node in 0..u32::try_from(rng.between(1, 2)).unwrap_or(1) {
                let node = self.plan.router(65000 + 10 * rack + node);
                self.join(tor, node);
            }
        }
        self.multipath(rng);
    }

    fn transit(&mut self, rng: &mut Rng) {
        let reflector = self.plan.router(AS);
        self.plan.routers[reflector].cluster = Some(7);
        let clients = self.routers(AS, rng.between(2, 4));
        clients.iter().for_each(|c| self.client(reflector, *c));
        // Attached twice: every router of the AS may see it from two sides.
        let (twice, once) = (self.plan.router(AS + 1), self.plan.router(AS + 2));
        self.join(clients[0], twice);
        self.join(clients[1], twice);
        self.join(clients[rng.below(clients.len())], once);
        if rng.chance(50) {
            self.join(twice, once);
        }
        for link in &mut self.plan.links {
            link.ends[1].next_hop_self = rng.chance(30);
        }
        self.multipath(rng);
    }

    fn multipath(&mut self, rng: &mut Rng) {
        let (paths, relax) = (*rng.pick(&[1, 2, 8]), rng.chance(50));
        for router in &mut self.plan.routers {
            router.multipath = paths;
            router.relax = relax;
        }
    }
}
