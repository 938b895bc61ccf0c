//! What one may ask of a running machine from another thread, and how the run learns of it.
//!
//! Requests are flags under one lock. vCPUs look at one atomic after every exit; a request sets it,
//! then kicks them all. Whoever runs the machine asks here what is to be done.

mod aside;
mod checkpoint;
mod cpus;
mod full;
mod keyboards;
mod media;
mod memory;
mod plug;
mod save;
mod seat;
mod slow;
mod traffic;

use std::fmt::{self, Debug};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, Weak};

use devices::Lines;
use netio::{Firewall, Rules};

use crate::a20::A20Gate;
use crate::config::Reboot;
use crate::limits::{DeviceGates, Limits};
use crate::signal::VcpuSignal;
use crate::stats::MachineStats;
use crate::sync::{lock, wait};
use crate::threads;
use crate::throttle::{Holds, Throttle};

use aside::Asides;
use cpus::Cpus;
pub use full::FullDisk;
use media::Media;
use memory::Memory;
pub use memory::MemoryReport;
use plug::Plugs;
use save::Saving;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The guest switched itself off.
    PowerOff,
    /// The guest asked for a reset, and [`Reboot::Exit`] was wanted.
    Reset,
    TripleFault,
    /// The guest's kernel said that it panicked.
    Panicked,
    /// A device ended the run with this value (isa-debug-exit and its like).
    DeviceExit(u32),
    /// [`MachineControl::stop`] was called. Running again continues.
    Stopped,
    /// The engine could not go on: why, in words.
    EngineFailed(String),
}

/// What the runner is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// Somebody wants statistics.
    Report,
    /// The guest has let go of devices.
    Eject,
    /// Somebody wants the machine to be saved.
    Save,
    /// Somebody has something to do while nothing of it runs.
    Aside,
    Pause,
    Reset,
    /// The guest sleeps: wait until it wakes.
    Sleep,
    /// It has been woken.
    Wake,
    End(Outcome),
}

/// Suspend to RAM (S3).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Sleep {
    #[default]
    Awake,
    Asleep,
    Waking,
}

#[derive(Debug, Default)]
struct State {
    /// Between the beginning and the end of a run.
    running: bool,
    /// Who waits for statistics.
    reports: Vec<Sender<MachineStats>>,
    /// Who waits for a saved machine.
    saving: Option<Saving>,
    ejected: bool,
    /// What somebody wants done to the machine.
    asides: Asides,
    paused: bool,
    /// Why it is paused, where nobody asked for it.
    full: Vec<FullDisk>,
    stops_when_full: bool,
    reset: bool,
    sleep: Sleep,
    end: Option<Outcome>,
}

impl State {
    fn request(&self) -> Option<Request> {
        if let Some(outcome) = &self.end {
            return Some(Request::End(outcome.clone()));
        }
        if !self.reports.is_empty() {
            return Some(Request::Report);
        }
        if self.ejected {
            return Some(Request::Eject);
        }
        if !self.asides.is_empty() {
            return Some(Request::Aside);
        }
        if self.saving.is_some() {
            return Some(Request::Save);
        }
        match (self.reset, self.paused, self.sleep) {
            (true, _, _) => Some(Request::Reset),
            (_, true, _) => Some(Request::Pause),
            (_, _, Sleep::Asleep) => Some(Request::Sleep),
            (_, _, Sleep::Waking) => Some(Request::Wake),
            (false, false, Sleep::Awake) => None,
        }
    }
}

type Hook<T> = Mutex<Option<Box<dyn Fn(T) + Send + Sync>>>;

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Some request is there.
    attention: AtomicBool,
    vcpus: Mutex<Vec<Arc<VcpuSignal>>>,
    /// The vCPUs stand still: the guest has had its share of the host's processors.
    held: AtomicBool,
    slow: slow::Slow,
    throttle: Arc<Throttle>,
    gates: DeviceGates,
    firewall: Firewall,
    power_button: Hook<()>,
    memory: Memory,
    traffic: Mutex<traffic::Traffic>,
    cpus: Cpus,
    media: Media,
    plugs: Plugs,
    resize: Hook<(u16, u16)>,
    seat: seat::Seat,
    vsock: Hook<(OwnedFd, u32)>,
}

/// A handle to a machine for other threads. Cloning shares it; it outlives the machine harmlessly.
#[derive(Clone, Default)]
pub struct MachineControl {
    shared: Arc<Shared>,
}

impl Debug for MachineControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineControl").finish_non_exhaustive()
    }
}

impl MachineControl {
    /// Ends the run with [`Outcome::DeviceExit`].
    pub fn exit(&self, code: u32) {
        self.end(Outcome::DeviceExit(code));
    }

    /// Ends the run with [`Outcome::Panicked`].
    pub fn guest_panicked(&self) {
        self.end(Outcome::Panicked);
    }

    /// Ends the run with [`Outcome::Stopped`]; another run continues it.
    pub fn stop(&self) {
        self.end(Outcome::Stopped);
    }

    /// Presses the power button. Returns when the guest has been told; what it does is its affair.
    pub fn power_button(&self) {
        if let Some(press) = lock(&self.shared.power_button).as_ref() {
            press(());
        }
    }

    /// Tells the guest the size of its console, in characters.
    pub fn resize_console(&self, columns: u16, rows: u16) {
        if let Some(resize) = lock(&self.shared.resize).as_ref() {
            resize((columns, rows));
        }
    }

    /// Connects `stream`, a Unix socket, to `port` of the guest's socket device. It is closed where
    /// there is no such device, or nobody at that port.
    pub fn connect_to_guest(&self, stream: OwnedFd, port: u32) {
        if let Some(connect) = lock(&self.shared.vsock).as_ref() {
            connect((stream, port));
        }
    }

    /// Stops vCPUs and the guest's clock until [`MachineControl::resume`].
    pub fn pause(&self) {
        self.change(|state| state.paused = true);
    }

    pub fn resume(&self) {
        self.change(|state| {
            state.paused = false;
            state.full.clear();
        });
    }

    /// Keeps the guest within these bounds from now on.
    pub fn set_limits(&self, limits: &Limits) {
        self.shared.gates.set(limits);
        self.wake_cards();
        let guest = HeldVcpus(Arc::downgrade(&self.shared));
        self.shared.throttle.set(limits.cpu, guest);
    }

    /// What may come to the guest's network card and leave it, from now on.
    pub fn set_rules(&self, rules: Rules) {
        self.shared.firewall.set(rules);
        self.wake_cards();
    }

    pub(crate) fn firewall(&self) -> Firewall {
        self.shared.firewall.clone()
    }

    /// Resets the machine, as its reset button would.
    pub fn reset(&self) {
        self.change(|state| state.reset = true);
    }

    /// Statistics of a machine that runs, whose vCPUs stop for them. `None` where it does not run, and
    /// for a device that asks in the middle of an access: its vCPU cannot stop.
    #[must_use]
    pub fn stats(&self) -> Option<MachineStats> {
        if threads::is_vcpu() {
            return None;
        }
        let (sender, answer) = channel();
        self.change(|state| {
            if state.running {
                state.reports.push(sender);
            }
        });
        // Nobody answers when the run has ended meanwhile.
        answer.recv().ok()
    }

    /// A run begins.
    pub(crate) fn began(&self) {
        self.change(|state| state.running = true);
    }

    /// It is over, and nobody answers any more.
    pub(crate) fn finished(&self) {
        self.change(|state| {
            state.running = false;
            state.reports.clear();
            state.saving = None;
            state.asides.clear();
        });
    }

    /// Answers those who wait for statistics.
    pub(crate) fn report(&self, stats: &MachineStats) {
        self.change(|state| {
            for sender in state.reports.drain(..) {
                // Whoever does not wait any more does not want it.
                let _ = sender.send(stats.clone());
            }
        });
    }

    /// Ends the run. The first end counts.
    pub(crate) fn end(&self, outcome: Outcome) {
        self.change(|state| {
            state.end.get_or_insert(outcome);
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        {
            let mut state = lock(&self.shared.state);
            change(&mut state);
            let attention = state.request().is_some();
            self.shared.attention.store(attention, Ordering::SeqCst);
            self.shared.changed.notify_all();
        }
        for vcpu in lock(&self.shared.vcpus).iter() {
            vcpu.wake();
        }
    }

    /// Is there a request? What vCPUs ask after every exit.
    pub(crate) fn attention(&self) -> bool {
        self.shared.attention.load(Ordering::SeqCst)
    }

    /// Must vCPUs stand still? Asked as [`MachineControl::attention`] is.
    pub(crate) fn is_held(&self) -> bool {
        self.shared.held.load(Ordering::SeqCst) || self.shared.slow.holds()
    }

    pub(crate) fn gates(&self) -> &DeviceGates {
        &self.shared.gates
    }

    /// What is to be done. Nothing, when the request that stopped the vCPUs has been taken back: a
    /// guest that was paused and resumed at once.
    pub(crate) fn request(&self) -> Option<Request> {
        lock(&self.shared.state).request()
    }

    /// Waits until the machine is not to stand still any more.
    pub(crate) fn wait_while_paused(&self) {
        self.wait_while(&Request::Pause);
    }

    /// Waits until the guest is woken, or something else is to be done.
    pub(crate) fn wait_while_asleep(&self) {
        self.wait_while(&Request::Sleep);
    }

    fn wait_while(&self, request: &Request) {
        let mut state = lock(&self.shared.state);
        while state.request().as_ref() == Some(request) {
            state = wait(&self.shared.changed, state);
        }
    }

    /// The machine starts from power-on or from a sleep: it is awake.
    pub(crate) fn woken(&self) {
        self.change(|state| state.sleep = Sleep::Awake);
    }

    /// The reset has been done.
    pub(crate) fn reset_done(&self) {
        self.change(|state| state.reset = false);
    }

    /// The run has ended; a new one may begin.
    pub(crate) fn ended(&self) {
        self.change(|state| state.end = None);
    }

    pub(crate) fn connect_vcpus(&self, vcpus: Vec<Arc<VcpuSignal>>) {
        *lock(&self.shared.vcpus) = vcpus;
    }

    pub(crate) fn connect_power_button(&self, press: impl Fn(()) + Send + Sync + 'static) {
        *lock(&self.shared.power_button) = Some(Box::new(press));
    }

    pub(crate) fn connect_resize(&self, resize: impl Fn((u16, u16)) + Send + Sync + 'static) {
        *lock(&self.shared.resize) = Some(Box::new(resize));
    }

    pub(crate) fn connect_vsock(&self, connect: impl Fn((OwnedFd, u32)) + Send + Sync + 'static) {
        *lock(&self.shared.vsock) = Some(Box::new(connect));
    }

    /// Drops what holds devices: they hold this handle in turn.
    pub(crate) fn disconnect(&self) {
        self.set_limits(&Limits::default());
        self.slow_down(0);
        lock(&self.shared.vcpus).clear();
        *lock(&self.shared.power_button) = None;
        self.shared.memory.disconnect();
        self.shared.cpus.disconnect();
        self.shared.media.disconnect();
        self.forget_cards();
        *lock(&self.shared.resize) = None;
        self.shared.seat.disconnect();
        *lock(&self.shared.vsock) = None;
    }
}

/// The vCPUs, as the throttle sees them.
struct HeldVcpus(Weak<Shared>);

impl Holds for HeldVcpus {
    fn hold(&self, held: bool) -> Option<usize> {
        let shared = self.0.upgrade()?;
        let changed = shared.held.swap(held, Ordering::SeqCst) != held;
        let vcpus = lock(&shared.vcpus);
        for vcpu in vcpus.iter().filter(|_| changed) {
            vcpu.wake();
        }
        (!vcpus.is_empty()).then_some(vcpus.len())
    }
}

/// The lines by which devices ask for reset and power-off.
#[derive(Debug)]
pub(crate) struct MachineLines {
    pub(crate) control: MachineControl,
    pub(crate) reboot: Reboot,
    pub(crate) a20: A20Gate,
}

impl Lines for MachineLines {
    fn set_a20(&self, enabled: bool) {
        self.a20.set(enabled);
    }

    fn reset(&self) {
        match self.reboot {
            Reboot::Restart => self.control.reset(),
            Reboot::Exit => self.control.end(Outcome::Reset),
        }
    }

    fn power_off(&self) {
        self.control.end(Outcome::PowerOff);
    }

    fn suspend(&self) {
        self.control.change(|state| state.sleep = Sleep::Asleep);
    }

    fn wake(&self) {
        self.control.change(|state| {
            if state.sleep == Sleep::Asleep {
                state.sleep = Sleep::Waking;
            }
        });
    }
}

#[cfg(test)]
mod tests;
