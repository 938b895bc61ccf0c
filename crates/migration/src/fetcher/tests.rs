use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use memory::{Gpa, GuestMemory, PAGE_SIZE, PageSet, RamRange, Userfault};

use super::*;
use crate::page_server::PageServer;
use crate::sender::{Sender, Way};

const PAGES: u64 = 1500;
const PATIENCE: Duration = Duration::from_secs(60);

fn guest() -> GuestMemory {
    let len = PAGES * PAGE_SIZE;
    GuestMemory::new(&[RamRange { base: Gpa(0), len }]).unwrap()
}

/// What a page of the source's holds: a fifth are zeros.
fn content(page: u64) -> [u8; PAGE] {
    [u8::try_from(page % 5).unwrap(); PAGE]
}

fn source() -> GuestMemory {
    let memory = guest();
    for page in 0..PAGES {
        let at = Gpa(page * PAGE_SIZE);
        memory.write_own(at, &content(page)).unwrap();
    }
    memory
}

fn all() -> PageSet {
    let mut pages = PageSet::new(PAGES);
    (0..PAGES).for_each(|page| pages.insert(page));
    pages
}

/// A target that lacks all, by this line; `None` on a host that lets nobody have faults told.
fn target(line: UnixStream) -> Option<(GuestMemory, Arc<Fetcher>)> {
    let userfault = Userfault::open()
        .inspect_err(|error| eprintln!("not tested: userfaultfd: {error}"))
        .ok()?;
    let memory = guest();
    let missing = memory.map_layers_without(&[], all(), userfault).unwrap();
    missing.begin().unwrap();
    let fetcher = Arc::new(Fetcher::new(line, missing).unwrap());
    let (one, other) = (Arc::clone(&fetcher), Arc::clone(&fetcher));
    thread::spawn(move || one.hear_faults());
    let connection = fetcher.first().unwrap();
    thread::spawn(move || other.take(&connection));
    Some((memory, fetcher))
}

fn check(memory: &GuestMemory, pages: impl Iterator<Item = u64>) {
    let mut bytes = [0; PAGE];
    for page in pages {
        memory.read_own(Gpa(page * PAGE_SIZE), &mut bytes).unwrap();
        assert_eq!(bytes, content(page), "page {page}");
    }
}

fn wait_for(fetcher: &Fetcher, wanted: &Fetching) {
    loop {
        let (found, _) = fetcher.fetching();
        match (&found, wanted) {
            (Fetching::Paused(_), Fetching::Paused(_)) => return,
            _ if found == *wanted => return,
            _ => thread::yield_now(),
        }
    }
}

#[test]
fn all_that_is_missing_comes_while_somebody_reads_it() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let Some((memory, fetcher)) = target(theirs) else {
        return;
    };
    let compress = true;
    let way = Way {
        compress,
        post_copy: true,
    };
    thread::scope(|scope| {
        let served = scope.spawn(move || {
            // What is before its end is the receiver's, who has it.
            let (nobody, _kept) = UnixStream::pair().unwrap();
            let mut sender = Sender::begin(nobody, source(), vec![], way)?;
            *sender.to() = ours;
            let mut server = PageServer::new(all());
            server.until(Kind::Ready, &mut sender, PATIENCE)?;
            sender.frame(Kind::Go, &[])?;
            server.until(Kind::Running, &mut sender, PATIENCE)?;
            server.send_all(&mut sender, PATIENCE, |_, _| {})?;
            Ok::<_, FrameError>(server.left())
        });
        // Also before the guest is ours.
        check(&memory, [1400, 3].into_iter());
        fetcher.say(Kind::Ready, &[]).unwrap();
        fetcher.wait_for_go().unwrap();
        let backwards = scope.spawn(|| check(&memory, (0..PAGES).rev()));
        fetcher.running();
        check(&memory, (0..PAGES).map(|page| page * 7 % PAGES));
        backwards.join().unwrap();
        assert_eq!(served.join().unwrap().unwrap(), 0);
        wait_for(&fetcher, &Fetching::Completed);
    });
}

#[test]
fn a_connection_that_breaks_is_waited_for_and_another_goes_on() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let Some((memory, fetcher)) = target(theirs) else {
        return;
    };
    let mut line = ours;
    let mut body = Vec::new();
    frame::write(&mut line, Kind::Go, &[]).unwrap();
    fetcher.wait_for_go().unwrap();
    fetcher.running();
    assert_eq!(frame::read(&mut line, &mut body).unwrap(), Kind::Running);
    let come = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            check(&memory, std::iter::once(900));
            come.store(true, Ordering::SeqCst);
        });
        assert_eq!(frame::read(&mut line, &mut body).unwrap(), Kind::Wanted);
        assert_eq!(body, 900u64.to_le_bytes());
        drop(line);
        wait_for(&fetcher, &Fetching::Paused(String::new()));
        assert!(!come.load(Ordering::SeqCst));
        let (ours, theirs) = UnixStream::pair().unwrap();
        let connection = fetcher.go_on(theirs).unwrap().unwrap();
        let other = Arc::clone(&fetcher);
        scope.spawn(move || other.take(&connection));
        let served = scope.spawn(move || {
            let (nobody, _kept) = UnixStream::pair().unwrap();
            let mut sender = Sender::begin(nobody, source(), vec![], Way::default())?;
            *sender.to() = ours;
            let mut server = PageServer::new(PageSet::new(PAGES));
            server.begin_anew();
            server.until(Kind::Running, &mut sender, PATIENCE)?;
            // What was waited for is asked for again.
            assert_eq!((server.left(), server.wanted()), (PAGES - 1, 1));
            server.send_all(&mut sender, PATIENCE, |_, _| {})
        });
        served.join().unwrap().unwrap();
        reader.join().unwrap();
        wait_for(&fetcher, &Fetching::Completed);
    });
    check(&memory, 0..PAGES);
    let (_ours, theirs) = UnixStream::pair().unwrap();
    assert!(fetcher.go_on(theirs).unwrap().is_none());
}

#[test]
fn a_source_that_goes_before_the_guest_is_ours_keeps_nobody_waiting() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let Some((memory, fetcher)) = target(theirs) else {
        return;
    };
    thread::scope(|scope| {
        // As whoever makes the machine may.
        let reader = scope.spawn(|| {
            let mut byte = [1];
            memory.read_own(Gpa(0), &mut byte).unwrap();
            byte
        });
        let mut body = Vec::new();
        let mut line = ours;
        assert_eq!(frame::read(&mut line, &mut body).unwrap(), Kind::Wanted);
        drop(line);
        assert_eq!(reader.join().unwrap(), [0]);
    });
    assert!(matches!(fetcher.wait_for_go(), Err(FrameError::Failed(_))));
}

#[test]
fn a_guest_that_ends_needs_nothing_more() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let Some((_memory, fetcher)) = target(theirs) else {
        return;
    };
    fetcher.abandon();
    let mut body = Vec::new();
    assert_eq!(frame::read(&mut ours, &mut body).unwrap(), Kind::Complete);
    assert_eq!(fetcher.fetching(), (Fetching::Completed, 0));
}

#[test]
fn late_pages_are_zeros_or_data_and_within_the_memory() {
    let frame = |words: &[u64], data: &[u8]| {
        let mut body = u32::try_from(words.len()).unwrap().to_le_bytes().to_vec();
        body.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        if !data.is_empty() {
            body.extend(0u32.to_le_bytes());
            body.extend(data);
        }
        body
    };
    let mut room = Vec::new();
    let mut late = |body: &[u8]| late_pages(body, 10, &mut room);
    let two = frame(&[3 | DATA << HOW, 4, 9 | DATA << HOW], &[7; 2 * PAGE]);
    assert_eq!(
        late(&two).unwrap(),
        [(3, Some(0)), (4, None), (9, Some(PAGE))]
    );
    for (body, why) in [
        (frame(&[10], &[]), "beyond"),
        (frame(&[3 | 2 << HOW, 4], &[]), "unknown way"),
        (frame(&[3 | DATA << HOW], &[]), "too soon"),
        (frame(&[3], &[7; PAGE]), "data"),
        (frame(&[3 | DATA << HOW], &[7; PAGE - 1]), "damaged"),
        (frame(&[3; BATCH + 1], &[]), "too many"),
        (vec![9, 0, 0, 0, 1], "too soon"),
    ] {
        let said = late(&body).unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    }
}
