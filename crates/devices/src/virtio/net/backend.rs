//! The card's work on a worker thread: some pairs of queues, and perhaps control, over one link.

use std::sync::Arc;
use std::time::Duration;

use netio::{Frame, Link, Offloads};

use crate::virtio::net::filter::Filter;
use crate::virtio::net::kernel_path::KernelPath;
use crate::virtio::net::receive::{Delivered, Receiver};
use crate::virtio::net::shared::{Shared, guest_offloads, host_offloads};
use crate::virtio::net::transmit::Transmitter;
use crate::virtio::net::{F_CTRL_VQ, F_MQ, F_MRG_RXBUF, Gates, HEADER_LEN, Mac, control};
use crate::virtio::ring::Batch;
use crate::virtio::{Backend, Next, Nonsense, Ring};

#[derive(Debug)]
pub(super) struct NetBackend {
    shared: Arc<Shared>,
    link: Box<dyn Link>,
    /// Who may serve the pair in our place.
    kernel: Option<KernelPath>,
    /// This worker's first queue among the device's.
    first: usize,
    features: u64,
    host: Offloads,
    settings: Settings,
    gates: Gates,
    /// Nothing comes in now, whatever waits: the guest has no buffers, or has had all that it may.
    closed: bool,
    receiver: Receiver,
    transmitter: Transmitter,
}

/// This worker's copy of what the workers share.
#[derive(Debug)]
struct Settings {
    as_of: u64,
    mac: Mac,
    filter: Filter,
    active_pairs: u16,
    status: u16,
    link_up: bool,
    guest: Offloads,
}

impl NetBackend {
    pub(super) fn new(
        shared: Arc<Shared>,
        link: Box<dyn Link>,
        first: usize,
        gates: Gates,
    ) -> NetBackend {
        let settings = Settings::of(&shared);
        NetBackend {
            shared,
            link,
            kernel: None,
            first,
            features: 0,
            host: Offloads::NONE,
            settings,
            gates,
            closed: false,
            receiver: Receiver::default(),
            transmitter: Transmitter::new(),
        }
    }

    pub(super) fn by_kernel(mut self, kernel: Option<KernelPath>) -> NetBackend {
        self.kernel = kernel;
        self
    }

    /// Which of the device's queues is control. Spec: "Virtqueues" of the network device.
    fn control_queue(&self) -> Option<usize> {
        let pairs = if self.features & F_MQ == 0 {
            1
        } else {
            usize::from(self.shared.pairs())
        };
        (self.features & F_CTRL_VQ != 0).then_some(2 * pairs)
    }

    /// Of a link a pair, those are used whose queues the driver does.
    fn use_queue(&mut self) {
        let pair = self.first / 2;
        self.link
            .use_queue(pair < self.settings.active_pairs.into());
    }

    /// Takes over what control or the host has changed.
    fn follow(&mut self, rings: &[Ring]) {
        let changes = self.shared.changes();
        if changes == self.settings.as_of {
            return;
        }
        let (status, guest) = (self.settings.status, self.settings.guest);
        self.settings = Settings::of(&self.shared);
        self.settings.as_of = changes;
        if self.settings.guest != guest {
            self.link.accept(self.settings.guest);
        }
        self.use_queue();
        if self.settings.status != status && self.first == 0 {
            rings.first().inspect(|ring| ring.config_changed());
        }
    }

    /// Why frames have to pass us, if they do.
    fn needed_here(&self) -> Option<&'static str> {
        if self.first / 2 >= self.settings.active_pairs.into() {
            return Some("the guest does not use these queues");
        }
        if !self.settings.link_up {
            return Some("the cable is out");
        }
        let limited = self.gates.from_guest.is_limited() || self.gates.to_guest.is_limited();
        limited.then_some("its rate is limited, which is counted in the guest's process")
    }

    /// Goes on while the kernel serves the pair. False where it does not, or not any more.
    fn is_kernels(&mut self, rings: &mut [Ring]) -> Result<bool, Nonsense> {
        let needed = self.needed_here();
        match &mut self.kernel {
            Some(kernel) => kernel.go_on(needed, rings),
            None => Ok(false),
        }
    }

    /// Lets the kernel serve the pair if nobody has to here, and nothing waits for room.
    fn offer_kernel(&mut self, rings: &mut [Ring]) -> bool {
        let needed = self.needed_here();
        match &mut self.kernel {
            Some(kernel) if !self.closed || needed.is_some() => {
                kernel.begin(needed, self.features, rings)
            }
            _ => false,
        }
    }

    fn transmit(&mut self, queue: usize, ring: &mut Ring) -> Result<Next, Nonsense> {
        let pair = u8::try_from((self.first + queue) / 2).unwrap_or(u8::MAX);
        let steer = self.settings.active_pairs > 1;
        let (link, host) = (&mut *self.link, self.host);
        let steering = steer.then_some(&self.shared.steering);
        let gate = &self.gates.from_guest;
        ring.drain_through(gate, |chain| {
            gate.spend(chain.readable_len().saturating_sub(HEADER_LEN as u64));
            if !self.settings.link_up {
                return Ok(0);
            }
            self.transmitter.send(chain, host, link, |frame| {
                steering.inspect(|steering| steering.learn(frame, pair));
            })
        })
    }

    /// Gives the guest what there is for it and fits.
    fn receive(&mut self, rings: &mut [Ring]) -> Result<Next, Nonsense> {
        self.link.turn();
        let batch = Batch::begin();
        let mergeable = self.features & F_MRG_RXBUF != 0;
        let (settings, receiver) = (&self.settings, &mut self.receiver);
        let steering =
            (rings.len() > 3 && settings.active_pairs > 1).then_some(&self.shared.steering);
        let gate = &self.gates.to_guest;
        let mut outcome = Ok(Delivered::Done);
        let mut deliver = |frame: &Frame<'_>| {
            let start = frame.parts.first().copied().unwrap_or_default();
            if !settings.link_up || !settings.filter.lets_in(start, settings.mac) {
                return true;
            }
            let pair = steering.map_or(0, |it| it.choose(start, settings.active_pairs));
            if let Some(ring) = rings.get_mut(2 * pair) {
                outcome = receiver.put(ring, frame, mergeable);
            }
            let done = outcome == Ok(Delivered::Done);
            if done {
                gate.spend(frame.parts.iter().map(|part| part.len() as u64).sum());
            }
            done
        };
        let mut more = true;
        let mut wait = gate.wait();
        while more && wait.is_none() && !batch.is_over() {
            more = self.link.receive(&mut deliver);
            wait = gate.wait();
        }
        self.closed = outcome? == Delivered::NoRoom || wait.is_some();
        for ring in rings.iter_mut().step_by(2) {
            ring.signal()?;
        }
        let later = |delay: Option<Duration>| delay.map_or(Next::Wait, Next::After);
        Ok(match wait {
            Some(wait) => Next::After(wait).sooner(later(self.link.wake_in())),
            None if more => Next::Again,
            None => later(self.link.wake_in()),
        })
    }
}

impl Settings {
    fn of(shared: &Shared) -> Settings {
        let state = shared.state();
        Settings {
            as_of: 0,
            mac: state.mac,
            filter: state.filter.clone(),
            active_pairs: state.active_pairs,
            status: state.status(),
            link_up: state.link_up,
            guest: guest_offloads(state.guest_offloads.unwrap_or(0)),
        }
    }
}

impl Backend for NetBackend {
    fn work(&self) -> threads::Work {
        threads::Work::Network
    }

    fn start(&mut self, features: u64) {
        self.features = features;
        self.host = host_offloads(features);
        self.closed = false;
        if let Some(kernel) = &mut self.kernel {
            kernel.try_again();
        }
        if self.first == 0 {
            self.shared.driver_ready(features);
        }
        self.settings = Settings::of(&self.shared);
        self.link.accept(self.settings.guest);
        self.use_queue();
    }

    fn serve(&mut self, queue: usize, rings: &mut [Ring]) -> Result<Next, Nonsense> {
        self.follow(rings);
        let by_kernel = self.is_kernels(rings)?;
        let Some(ring) = rings.get_mut(queue) else {
            return Ok(Next::Wait);
        };
        let mut next = Next::Wait;
        if self.control_queue() == Some(self.first + queue) {
            next = ring.drain(|chain| control::answer(&self.shared, self.features, chain))?;
            self.follow(rings);
        } else if by_kernel {
            return Ok(next);
        } else if (self.first + queue) % 2 == 1 {
            next = self.transmit(queue, ring)?;
        } else {
            // Here are new buffers, and no need to hear of the next while these last.
            ring.stop_notifications()?;
        }
        // What the guest said may be that frames have to pass us.
        if by_kernel && self.is_kernels(rings)? {
            return Ok(next);
        }
        // What the guest sent has answers, most of them at once.
        next = next.sooner(self.receive(rings)?);
        Ok(if self.offer_kernel(rings) {
            Next::Wait
        } else {
            next
        })
    }

    fn listens(&self) -> bool {
        !self.closed
    }

    fn given_away(&self) -> usize {
        let kernel = self.kernel.as_ref();
        kernel.map_or(0, KernelPath::queues)
    }

    fn rest(&mut self, rings: &mut [Ring]) -> Result<(), Nonsense> {
        match &mut self.kernel {
            Some(kernel) => kernel.end(rings),
            None => Ok(()),
        }
    }

    fn reset(&mut self) {
        self.features = 0;
        self.host = Offloads::NONE;
        self.closed = false;
    }
}
