//! Commands to the controller itself. Spec: NVM Express 1.4, "Admin Command Set".

use super::command::{Answer, Command, Status};
use super::io::NAMESPACE;
use super::queues::{CompletionQueue, MOST_ENTRIES, PAGE, SubmissionQueue};
use super::{IO_PAIRS, MOST_EVENT_REQUESTS, Nvme, PAIRS, VECTORS, identify, prp};

const DELETE_SUBMISSION: u8 = 0x00;
const CREATE_SUBMISSION: u8 = 0x01;
const LOG_PAGE: u8 = 0x02;
const DELETE_COMPLETION: u8 = 0x04;
const CREATE_COMPLETION: u8 = 0x05;
const IDENTIFY: u8 = 0x06;
const ABORT: u8 = 0x08;
const SET_FEATURES: u8 = 0x09;
const GET_FEATURES: u8 = 0x0a;
const EVENT_REQUEST: u8 = 0x0c;

const FEATURE_ARBITRATION: u16 = 0x01;
const FEATURE_POWER: u16 = 0x02;
const FEATURE_TEMPERATURE: u16 = 0x04;
const FEATURE_RECOVERY: u16 = 0x05;
const FEATURE_WRITE_CACHE: u16 = 0x06;
const FEATURE_QUEUES: u16 = 0x07;
const FEATURE_COALESCING: u16 = 0x08;
const FEATURE_EVENTS: u16 = 0x0b;

const LOG_ERRORS: u16 = 1;
const LOG_HEALTH: u16 = 2;
const LOG_FIRMWARE: u16 = 3;
const HEALTH_LEN: usize = 512;
/// 300 K, as the health page has it.
const TEMPERATURE: u16 = 300;
/// All of what is spare is there, in percent.
const SPARE: u8 = 100;

impl Nvme {
    /// Nothing for what is answered when something happens.
    pub(super) fn admin(&mut self, command: &Command) -> Option<Answer> {
        let done = match command.opcode {
            EVENT_REQUEST if self.state.event_requests.len() < MOST_EVENT_REQUESTS => {
                self.state.event_requests.push(command.id);
                return None;
            }
            EVENT_REQUEST => Err(Status::EventLimit),
            DELETE_SUBMISSION => self.delete_submission(command),
            CREATE_SUBMISSION => self.create_submission(command),
            DELETE_COMPLETION => self.delete_completion(command),
            CREATE_COMPLETION => self.create_completion(command),
            IDENTIFY => self.identify(command),
            LOG_PAGE => self.log_page(command),
            // What is asked for is done, and cannot be called back.
            ABORT => Ok(1),
            SET_FEATURES => self.set_feature(command),
            GET_FEATURES => self.feature(command),
            _ => Err(Status::InvalidOpcode),
        };
        let (result, status) = match done {
            Ok(result) => (result, Status::Success),
            Err(status) => (0, status),
        };
        Some(Answer {
            id: command.id,
            result,
            status,
        })
    }

    fn create_completion(&mut self, command: &Command) -> Result<u32, Status> {
        let index = new_queue(command, &self.state.completion)?;
        let interrupts = command.low(11) & 2 != 0;
        let vector = command.high(11);
        if interrupts && vector >= VECTORS {
            return Err(Status::InvalidVector);
        }
        let vector = interrupts.then_some(vector);
        let queue = CompletionQueue::new(command.prp[0], size(command), vector);
        self.state.completion[index] = Some(queue);
        Ok(0)
    }

    fn create_submission(&mut self, command: &Command) -> Result<u32, Status> {
        let index = new_queue(command, &self.state.submission)?;
        let answers = command.high(11);
        let known = self.state.completion.get(usize::from(answers));
        if answers == 0 || !known.is_some_and(Option::is_some) {
            return Err(Status::InvalidCompletionQueue);
        }
        let queue = SubmissionQueue::new(command.prp[0], size(command), answers);
        self.state.submission[index] = Some(queue);
        Ok(0)
    }

    fn delete_submission(&mut self, command: &Command) -> Result<u32, Status> {
        let queue = old_queue(command, &mut self.state.submission)?;
        *queue = None;
        Ok(0)
    }

    fn delete_completion(&mut self, command: &Command) -> Result<u32, Status> {
        let mut submission = self.state.submission.iter().flatten();
        if submission.any(|queue| queue.completes_to == command.low(10)) {
            return Err(Status::InvalidDeletion);
        }
        let queue = old_queue(command, &mut self.state.completion)?;
        *queue = None;
        Ok(0)
    }

    fn identify(&self, command: &Command) -> Result<u32, Status> {
        let known = command.namespace == NAMESPACE;
        let data = match command.low(10) & 0xff {
            identify::CNS_NAMESPACE if known => identify::namespace(self.disk.len()),
            identify::CNS_CONTROLLER => identify::controller(&self.serial),
            identify::CNS_NAMESPACES => identify::namespaces(command.namespace),
            identify::CNS_DESCRIPTORS if known => identify::descriptors(),
            identify::CNS_NAMESPACE | identify::CNS_DESCRIPTORS => {
                return Err(Status::InvalidNamespace);
            }
            _ => return Err(Status::InvalidField),
        };
        prp::give(&self.memory, command, &data).map(|()| 0)
    }

    fn log_page(&self, command: &Command) -> Result<u32, Status> {
        let mut page = vec![0; HEALTH_LEN];
        match command.low(10) & 0xff {
            LOG_ERRORS | LOG_FIRMWARE => {}
            LOG_HEALTH => {
                page[1..3].copy_from_slice(&TEMPERATURE.to_le_bytes());
                page[3] = SPARE;
            }
            _ => return Err(Status::InvalidLogPage),
        }
        let wanted = (u64::from(command.high(10)) | u64::from(command.low(11)) << 16) + 1;
        let wanted = usize::try_from(wanted.saturating_mul(4)).unwrap_or(usize::MAX);
        let offset = u64::from(command.words[2]) | u64::from(command.words[3]) << 32;
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = page.get(offset..).ok_or(Status::InvalidField)?;
        let rest = &rest[..rest.len().min(wanted)];
        prp::give(&self.memory, command, rest).map(|()| 0)
    }

    fn set_feature(&mut self, command: &Command) -> Result<u32, Status> {
        match command.low(10) & 0xff {
            FEATURE_WRITE_CACHE => {
                self.state.write_cache_off = command.words[1] & 1 == 0;
                Ok(0)
            }
            FEATURE_QUEUES => Ok(queues()),
            // Taken, and without a use.
            FEATURE_ARBITRATION | FEATURE_TEMPERATURE | FEATURE_RECOVERY | FEATURE_COALESCING
            | FEATURE_EVENTS => Ok(0),
            FEATURE_POWER if command.words[1] & 0x1f == 0 => Ok(0),
            FEATURE_POWER => Err(Status::InvalidField),
            _ => Err(Status::NotChangeable),
        }
    }

    fn feature(&self, command: &Command) -> Result<u32, Status> {
        match command.low(10) & 0xff {
            FEATURE_WRITE_CACHE => Ok(u32::from(!self.state.write_cache_off)),
            FEATURE_QUEUES => Ok(queues()),
            FEATURE_ARBITRATION | FEATURE_POWER | FEATURE_TEMPERATURE | FEATURE_RECOVERY
            | FEATURE_COALESCING | FEATURE_EVENTS => Ok(0),
            _ => Err(Status::InvalidField),
        }
    }
}

/// How many queues of either kind there are, each less one.
fn queues() -> u32 {
    u32::from(IO_PAIRS - 1) << 16 | u32::from(IO_PAIRS - 1)
}

/// Entries, which a command says less one.
fn size(command: &Command) -> u32 {
    u32::from(command.high(10)) + 1
}

/// Where the queue that a command makes goes.
fn new_queue<T>(command: &Command, queues: &[Option<T>; PAIRS]) -> Result<usize, Status> {
    let index = usize::from(command.low(10));
    if index == 0 || !queues.get(index).is_some_and(Option::is_none) {
        return Err(Status::InvalidQueueId);
    }
    if !(2..=MOST_ENTRIES).contains(&size(command)) {
        return Err(Status::InvalidQueueSize);
    }
    // In one piece, which begins with a page.
    if command.low(11) & 1 == 0 || !command.prp[0].is_multiple_of(PAGE) {
        return Err(Status::InvalidField);
    }
    Ok(index)
}

fn old_queue<'a, T>(
    command: &Command,
    queues: &'a mut [Option<T>; PAIRS],
) -> Result<&'a mut Option<T>, Status> {
    let index = usize::from(command.low(10));
    let queue = queues.get_mut(index).filter(|_| index != 0);
    queue
        .filter(|queue| queue.is_some())
        .ok_or(Status::InvalidQueueId)
}
