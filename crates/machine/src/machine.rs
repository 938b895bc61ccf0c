//! A guest: made from a description, run to an outcome.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use devices::Device;
use devices::pflash::Pflash;
use engine::{CodeListener, Engine};
use memory::{GuestMemory, MemoryPlan, PAGE_SIZE};
use x86::cpuid::{self, CpuChoice, CpuidTable, HostCpuid, VcpuParams};
use x86::{Activity, CpuState};

use crate::a20::A20Gate;
use crate::board::{Board, BoardParts};
use crate::boot::{self, BootSource};
use crate::bus::SharedDevice;
use crate::chardev::{InputThread, Inputs};
use crate::choice::{self, Needs};
use crate::config::MachineConfig;
use crate::control::{MachineControl, MachineLines, Outcome, Request};
use crate::error::MachineError;
use crate::firmware::{self, Facts};
use crate::layout::{self, MAX_MEMORY, MIN_MEMORY};
use crate::msrs::{MachineMsrs, MsrFacts};
use crate::pc::{self, FirmwareImage};
use crate::perf_map::{PerfMap, Symbols};
use crate::peripherals::{self, Peripherals};
use crate::screen::MachineScreen;
use crate::signal::{Signals, VcpuSignal};
use crate::sound;
use crate::stats::{MachineStats, Times};
use crate::sync::lock;
use crate::threads;
use crate::time::{GuestTsc, TscRate};
use crate::vcpu::{MasterClock, Shared, VcpuParts, VcpuRunner};

/// How long the end of a run waits for the readers of the guest's last words.
const DRAIN: Duration = Duration::from_secs(5);
/// How long it does when somebody stops the guest, also while it waits.
const SHORT_DRAIN: Duration = Duration::from_millis(500);
/// How often it looks whether somebody does.
const LOOK: Duration = Duration::from_millis(50);

/// As many as the firmware tables have room for.
pub const MAX_VCPUS: u32 = 512;

/// What the guest begins with.
#[derive(Debug)]
enum Start {
    Kernel {
        source: BootSource,
        command_line: String,
    },
    Firmware(FirmwareImage),
}

impl Start {
    fn open(config: &mut MachineConfig) -> Result<Start, MachineError> {
        match &config.firmware {
            Some(firmware) => Ok(Start::Firmware(FirmwareImage::open(firmware)?)),
            None => Ok(Start::Kernel {
                source: BootSource::open(&config.kernel, &config.initrd)?,
                command_line: std::mem::take(&mut config.command_line),
            }),
        }
    }

    fn rom(&self) -> Option<memory::RamRange> {
        match self {
            Start::Kernel { .. } => None,
            Start::Firmware(image) => Some(image.rom()),
        }
    }
}

/// A guest with everything it has. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct Machine {
    pub(crate) board: Board,
    pub(crate) vcpus: Vec<VcpuRunner>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) engine: Arc<dyn Engine>,
    reason: String,
    start: Start,
    facts: Facts,
    cpuid: CpuidTable,
    msrs: MachineMsrs,
    /// Between two runs it has all inputs; the input thread has them during one.
    pub(crate) peripherals: Peripherals,
    /// The engine's own devices as they were made, to come back to at a reset.
    pristine: Vec<u8>,
    /// The next run begins with a power-on.
    pub(crate) off: bool,
    /// Of each vCPU, where they are wanted.
    times: Option<Vec<Times>>,
}

impl Machine {
    /// Makes the guest: opens its files, takes its memory, chooses its engine. Nothing runs yet.
    ///
    /// # Errors
    /// When the description makes no sense, a file cannot be used, or the host refuses something.
    pub fn new(mut config: MachineConfig) -> Result<Machine, MachineError> {
        check(&config)?;
        let mut host = HostCpuid::known();
        if config.firmware.is_some() {
            host.limit_physical_bits(pc::physical_bits(config.memory.max(config.max_memory)));
        }
        let choice = CpuChoice::parse(&config.cpu_model, &host)?;
        let start = Start::open(&mut config)?;
        let ranges = layout::ram_ranges(config.memory);
        let more = config.max_memory.saturating_sub(config.memory);
        let pluggable = layout::pluggable_range(&ranges, more);
        let memory = GuestMemory::planned(&MemoryPlan {
            ram: &ranges,
            rom: start.rom(),
            pluggable,
        })?;
        if config.merges_memory {
            memory
                .merge()
                .map_err(|source| MachineError::Merge { source })?;
        }
        let needs = Needs {
            times: config.times,
            vcpus: config.vcpus.max(config.max_vcpus),
            speaker: sound::is_speaker(config.sound.as_ref()),
        };
        let chosen = choice::choose(config.engine, &memory, needs)?;
        let physical_bits = u8::try_from(host.physical_bits()).unwrap_or(36);
        let rate = TscRate::host();
        // Those that come later are made now: they wait to be there.
        let vcpus = needs.vcpus;
        let tables: Vec<CpuidTable> = (0..vcpus)
            .map(|id| choice.table(&host, &vcpu_params(id, vcpus, rate)))
            .collect();
        let signals: Vec<Arc<VcpuSignal>> = (0..vcpus).map(|_| Arc::default()).collect();
        let tsc = Arc::new(GuestTsc::new(rate, vcpus));
        let control = MachineControl::default();
        let lines = Arc::new(MachineLines {
            control: control.clone(),
            reboot: config.reboot,
            a20: A20Gate::new(memory.clone()),
        });
        let parts = BoardParts {
            memory: memory.clone(),
            engine: Arc::clone(&chosen.engine),
            vcpus,
            physical_bits,
            has_x2apic: tables[0].has(cpuid::feature::X2APIC),
            events: Arc::new(Signals(signals.clone())),
            tsc: Arc::clone(&tsc),
            lines,
            control: control.clone(),
        };
        let mut board = Board::new(&parts)?;
        if let Start::Firmware(image) = &start
            && let Some(variables) = image.variables()
        {
            let (base, len) = (image.rom().base, variables.len());
            let engine = Arc::clone(&chosen.engine);
            let flash = variables.flash(base, memory.clone(), engine, control.clone());
            board.add_flash(base, len, Pflash::new(len, flash))?;
        }
        let machine_facts = Facts::new(&config, vcpus)?;
        let peripherals = peripherals::add(
            &mut board,
            &mut config,
            &parts.lines,
            &control,
            &signals,
            &machine_facts,
        )?;
        let shared = Arc::new(Shared {
            control: control.clone(),
            memory,
            clock: Arc::clone(&board.clock),
            tsc,
            master_clock: MasterClock::default(),
            irqchip: board.irqchip.clone(),
            signature: tables[0].find(1, 0).map_or(0, |entry| entry.eax),
        });
        let facts = MsrFacts::new(&tables[0], &choice, physical_bits);
        let mut machine = Machine {
            board,
            vcpus: Vec::new(),
            shared,
            engine: chosen.engine,
            reason: chosen.reason,
            start,
            facts: machine_facts,
            cpuid: tables[0].clone(),
            msrs: MachineMsrs::at_reset(facts),
            peripherals,
            pristine: Vec::new(),
            off: true,
            times: config.times.then(|| vec![Times::default(); vcpus as usize]),
        };
        machine.make_vcpus(&tables, signals.clone())?;
        control.connect_vcpus(signals);
        machine.report_plugged();
        control.set_limits(&config.limits);
        Ok(machine)
    }

    fn make_vcpus(
        &mut self,
        tables: &[CpuidTable],
        signals: Vec<Arc<VcpuSignal>>,
    ) -> Result<(), MachineError> {
        for ((id, table), signal) in (0u32..).zip(tables).zip(signals) {
            let made = self.engine.create_vcpu(id, table);
            let mut vcpu = made.map_err(|source| self.engine_error(source))?;
            vcpu.take_strings();
            let parts = VcpuParts {
                id,
                vcpu,
                signal,
                ports: self.board.ports.view(),
                mmio: self.board.mmio.view(),
                msrs: self.msrs.clone(),
            };
            let runner = VcpuRunner::new(parts, Arc::clone(&self.shared));
            self.vcpus.push(runner);
        }
        let saved = self.engine.save_devices();
        self.pristine = saved.map_err(|source| self.engine_error(source))?;
        Ok(())
    }

    pub(crate) fn engine_error(&self, source: engine::EngineError) -> MachineError {
        MachineError::Engine {
            engine: self.engine.name(),
            source,
        }
    }

    /// Puts a device behind ports. Reset and saved states reach it from then on.
    ///
    /// # Errors
    /// When a port is taken.
    pub fn attach_port_device(
        &mut self,
        first_port: u16,
        count: u16,
        device: Box<dyn Device>,
    ) -> Result<(), MachineError> {
        let bus = Arc::clone(&self.board.ports);
        let device = shared(device);
        self.board
            .add_foreign(&bus, first_port.into(), count.into(), device)
    }

    /// Puts a device behind guest-physical addresses.
    ///
    /// # Errors
    /// When an address is taken or is RAM.
    pub fn attach_mmio_device(
        &mut self,
        base: memory::Gpa,
        len: u64,
        device: Box<dyn Device>,
    ) -> Result<(), MachineError> {
        let end = base.0.saturating_add(len);
        let ranges = self.shared.memory.mapped_ranges();
        if ranges
            .iter()
            .any(|range| base.0 < range.base.0 + range.len && range.base.0 < end)
        {
            return Err(MachineError::Attach {
                source: crate::bus::BusError::NoRange { base: base.0, len },
            });
        }
        let bus = Arc::clone(&self.board.mmio);
        let device = shared(device);
        self.board.add_foreign(&bus, base.0, len, device)
    }

    /// One device's end of an ISA interrupt line, for devices that are made elsewhere.
    #[must_use]
    pub fn interrupt_line(&self, irq: u8) -> Arc<dyn devices::Line> {
        self.board.line(irq)
    }

    /// A handle for other threads.
    #[must_use]
    pub fn control(&self) -> MachineControl {
        self.shared.control.clone()
    }

    /// The guest's RAM.
    #[must_use]
    pub fn memory(&self) -> &GuestMemory {
        &self.shared.memory
    }

    /// See [`MachineControl::stats`] for one that runs.
    #[must_use]
    pub fn stats(&self) -> MachineStats {
        let times = self.times.as_deref().unwrap_or_default();
        let times = times.iter().map(Times::named);
        let vcpus = self.vcpus.iter().map(VcpuRunner::report);
        let mut stats = MachineStats {
            engine: self.engine.name(),
            reason: self.reason.clone(),
            vcpus: vcpus.collect(),
        };
        for (vcpu, times) in stats.vcpus.iter_mut().zip(times) {
            vcpu.times = times;
        }
        stats
    }

    /// Lets `perf` name the code of the guest that runs from now on, by `symbols` where they have a
    /// name for it. Answers where the map is, which stays when the guest has gone.
    ///
    /// # Errors
    /// When the engine makes no code, or the map cannot be made.
    pub fn write_perf_map(&mut self, symbols: Symbols) -> Result<PathBuf, MachineError> {
        let path = PerfMap::path();
        let map = PerfMap::create(&path, symbols);
        let map = Arc::new(map.map_err(|source| MachineError::PerfMap {
            path: path.clone(),
            source,
        })?);
        for vcpu in &mut self.vcpus {
            let listener: Arc<dyn CodeListener> = Arc::<PerfMap>::clone(&map);
            if !vcpu.tell_code(listener) {
                // It is empty.
                let _ = std::fs::remove_file(&path);
                return Err(MachineError::NoCode {
                    engine: self.engine.name(),
                });
            }
        }
        Ok(path)
    }

    /// Everything that each processor is, between two runs.
    ///
    /// # Errors
    /// When the host fails.
    pub fn cpu_states(&mut self) -> Result<Vec<CpuState>, MachineError> {
        let states: Result<Vec<_>, _> = self.vcpus.iter_mut().map(VcpuRunner::state).collect();
        states.map_err(|source| self.engine_error(source))
    }

    /// Why the machine runs on the engine it runs on.
    #[must_use]
    pub fn engine_reason(&self) -> (&'static str, &str) {
        (self.engine.name(), &self.reason)
    }

    /// Runs the guest until it ends or is stopped. After [`Outcome::Stopped`] another run
    /// continues; after any other outcome it powers the machine on again.
    ///
    /// # Errors
    /// When the guest cannot be booted or the host fails.
    pub fn run(&mut self) -> Result<Outcome, MachineError> {
        // Before anything is read: a reset device forgets what it was given.
        if self.off {
            self.power_on()?;
            self.off = false;
        }
        let Inputs { list, waker } = &mut self.peripherals.inputs;
        let thread = InputThread::start(std::mem::take(list), waker.clone());
        let thread = thread.map_err(|source| MachineError::Host {
            what: "thread",
            source,
        })?;
        self.shared.control.began();
        let ended = self.run_to_end();
        self.shared.control.finished();
        self.peripherals.inputs.list = thread.stop();
        let outcome = ended?;
        self.drain(outcome == Outcome::Stopped);
        self.off = outcome != Outcome::Stopped;
        Ok(outcome)
    }

    /// Waits for the readers of consoles. One that has not read by the end of it does not want to.
    fn drain(&self, stopped: bool) {
        let Some(console) = &self.peripherals.console else {
            return;
        };
        let begun = Instant::now();
        while !console.drain(LOOK) {
            let hurried = stopped || self.shared.control.attention();
            if begun.elapsed() >= if hurried { SHORT_DRAIN } else { DRAIN } {
                break;
            }
        }
        // A stop that came meanwhile was for this run.
        self.shared.control.ended();
    }

    fn run_to_end(&mut self) -> Result<Outcome, MachineError> {
        loop {
            self.shared.master_clock.forget();
            self.board.resume();
            threads::run_all(
                &mut self.vcpus,
                self.times.as_deref_mut(),
                &self.shared.control,
            );
            self.board.quiesce();
            // Nothing runs until there is nothing more to do: who has saved the machine finds it as it was.
            while let Some(request) = self.shared.control.request() {
                if let Some(outcome) = self.serve(request)? {
                    return Ok(outcome);
                }
            }
        }
    }

    /// Does what somebody wants of a guest that stands still. Answers how its run ends, if it does.
    fn serve(&mut self, request: Request) -> Result<Option<Outcome>, MachineError> {
        match request {
            Request::Report => self.shared.control.report(&self.stats()),
            Request::Eject => {
                self.shared.control.ejected_taken();
                self.take_ejected();
            }
            Request::Save => {
                if let Some((order, answer)) = self.shared.control.take_saving() {
                    // Whoever does not wait any more does not want it.
                    let _ = answer.send(self.record(&order));
                }
            }
            Request::Aside => {
                while let Some(work) = self.shared.control.take_aside() {
                    work(self);
                }
            }
            Request::Pause => self.shared.control.wait_while_paused(),
            Request::Reset => {
                self.power_on()?;
                self.shared.control.reset_done();
            }
            Request::Sleep => self.sleep(),
            Request::Wake => self.wake()?,
            Request::End(outcome) => {
                self.shared.control.ended();
                return Ok(Some(outcome));
            }
        }
        Ok(None)
    }

    /// Power-on, also by the reset button: devices, tables, kernel, processors.
    pub(crate) fn power_on(&mut self) -> Result<(), MachineError> {
        self.reset_devices()?;
        let bootstrap = self.load()?;
        self.start_processors(&bootstrap)?;
        self.shared.control.woken();
        Ok(())
    }

    /// Fills memory with what the guest starts from; answers how its first processor starts.
    fn load(&mut self) -> Result<CpuState, MachineError> {
        let memory = &self.shared.memory;
        match &mut self.start {
            Start::Firmware(image) => {
                image.load(memory)?;
                let mut state = CpuState::at_reset();
                state.gpr[x86::register::gpr::RDX] = self.shared.signature.into();
                Ok(state)
            }
            Start::Kernel {
                source,
                command_line,
            } => {
                let cpus = self.peripherals.cpus.as_ref();
                self.facts.slots = self.board.hot_slots();
                self.facts.present = cpus.map(|cpus| lock(cpus).present());
                firmware::install(memory, &self.facts)?;
                let seed: [u8; 32] = random()?;
                let long_mode = self.cpuid.has(cpuid::feature::LM);
                let screen = self.peripherals.screen.as_ref();
                let given = boot::Given {
                    seed: &seed,
                    long_mode,
                    frame_buffer: screen.and_then(MachineScreen::boot),
                };
                Ok(boot::load(memory, source, command_line, &given)?)
            }
        }
    }

    pub(crate) fn reset_devices(&mut self) -> Result<(), MachineError> {
        self.board.reset();
        let pristine = self.engine.restore_devices(&self.pristine);
        pristine.map_err(|source| self.engine_error(source))
    }

    /// The first processor becomes `bootstrap`, the others wait for a start-up message.
    pub(crate) fn start_processors(&mut self, bootstrap: &CpuState) -> Result<(), MachineError> {
        let waiting = CpuState {
            activity: Activity::WaitForSipi,
            ..CpuState::at_reset()
        };
        for id in 0..self.vcpus.len() {
            let mut state = if id == 0 { bootstrap } else { &waiting }.clone();
            let runner = &mut self.vcpus[id];
            runner.reset_msrs(self.msrs.clone());
            let set = runner.power_on(&mut state);
            set.map_err(|source| self.engine_error(source))?;
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.peripherals.abandon.set();
        self.shared.control.disconnect();
    }
}

fn shared(device: Box<dyn Device>) -> SharedDevice {
    Arc::new(Mutex::new(Boxed(device)))
}

fn check(config: &MachineConfig) -> Result<(), MachineError> {
    let memory = config.memory;
    if memory < MIN_MEMORY {
        return Err(MachineError::TooLittleMemory {
            memory,
            least: MIN_MEMORY,
        });
    }
    let memory = memory.max(config.max_memory);
    if memory > MAX_MEMORY {
        return Err(MachineError::TooMuchMemory {
            memory,
            most: MAX_MEMORY,
        });
    }
    if !memory.is_multiple_of(PAGE_SIZE) {
        return Err(MachineError::OddMemory { memory });
    }
    let vcpus = config.vcpus.max(config.max_vcpus);
    if config.vcpus == 0 || vcpus > MAX_VCPUS {
        return Err(MachineError::Vcpus {
            vcpus,
            most: MAX_VCPUS,
        });
    }
    Ok(())
}

/// What a processor of this model is on this host, in words that are equal where it is.
///
/// # Errors
/// When there is no such model.
pub fn processor(model: &str) -> Result<String, MachineError> {
    let host = HostCpuid::known();
    let choice = CpuChoice::parse(model, &host)?;
    // However fast the host counts: guests hear of that by other ways.
    let params = VcpuParams {
        id: 0,
        count: 1,
        tsc_khz: 1,
    };
    Ok(format!("{:?}", choice.table(&host, &params)))
}

fn vcpu_params(id: u32, count: u32, rate: TscRate) -> VcpuParams {
    VcpuParams {
        id,
        count,
        tsc_khz: u32::try_from(rate.khz).unwrap_or(u32::MAX),
    }
}

/// Bytes from the host's generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], MachineError> {
    let mut bytes = [0; N];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    filled.map_err(|error| MachineError::Host {
        what: "random numbers",
        source: error.into(),
    })?;
    Ok(bytes)
}

/// A device behind a box, so that it can be shared like those whose type we know.
#[derive(Debug)]
struct Boxed(Box<dyn Device>);

impl Device for Boxed {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn read(&mut self, offset: u64, size: u8) -> u64 {
        self.0.read(offset, size)
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        self.0.write(offset, size, value);
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn save(&self) -> devices::DeviceState {
        self.0.save()
    }

    fn restore(&mut self, state: &devices::DeviceState) -> Result<(), devices::RestoreError> {
        self.0.restore(state)
    }

    fn expire(&mut self, now: u64) {
        self.0.expire(now);
    }
}
