use std::io::Write;
use std::thread;

use memory::{Gpa, GuestMemory, PAGE_SIZE, RamRange};

use super::*;
use crate::sender::Way;

const PAGES: u64 = 1000;
const PATIENCE: Duration = Duration::from_secs(60);

fn guest() -> GuestMemory {
    let len = PAGES * PAGE_SIZE;
    GuestMemory::new(&[RamRange { base: Gpa(0), len }]).unwrap()
}

/// A source that lacks nothing, and the target's end, which has heard the hello.
fn source() -> (Sender<UnixStream>, UnixStream) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let sender = Sender::begin(ours, guest(), vec![], Way::default()).unwrap();
    frame::read(&mut theirs, &mut Vec::new()).unwrap();
    (sender, theirs)
}

fn all() -> PageSet {
    let mut pages = PageSet::new(PAGES);
    (0..PAGES).for_each(|page| pages.insert(page));
    pages
}

/// The numbers of the pages of the next frame.
fn pages(from: &mut UnixStream) -> Vec<u64> {
    let mut body = Vec::new();
    assert_eq!(frame::read(from, &mut body).unwrap(), Kind::Pages);
    let mut body = Body(&body);
    let count = body.u32().unwrap();
    (0..count).map(|_| body.u64().unwrap()).collect()
}

fn say(to: &mut UnixStream, kind: Kind, numbers: &[u64]) {
    let body: Vec<u8> = numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
    frame::write(to, kind, &body).unwrap();
}

/// What comes of a target that says this, instead of that it has all.
fn refused(said: impl FnOnce(&mut UnixStream)) -> FrameError {
    let (mut sender, mut theirs) = source();
    said(&mut theirs);
    drop(theirs);
    let mut server = PageServer::new(PageSet::new(PAGES));
    let sent = server.send_all(&mut sender, PATIENCE, |_, _| {});
    sent.unwrap_err()
}

#[test]
fn a_page_that_is_wanted_comes_before_all_others_and_once() {
    let (mut sender, mut theirs) = source();
    thread::scope(|scope| {
        let served = scope.spawn(move || {
            let mut server = PageServer::new(all());
            server.until(Kind::Running, &mut sender, PATIENCE)?;
            server.send_all(&mut sender, PATIENCE, |_, _| {})?;
            Ok::<_, FrameError>((server.left(), server.wanted()))
        });
        // Nothing comes by itself before the guest runs.
        say(&mut theirs, Kind::Wanted, &[700, 3]);
        assert_eq!(pages(&mut theirs), [700, 3]);
        say(&mut theirs, Kind::Wanted, &[700]);
        say(&mut theirs, Kind::Running, &[]);
        let mut come = 2;
        let mut next = 4;
        while come < PAGES {
            // As many as may be on their way come without a word.
            let found = pages(&mut theirs);
            assert_eq!(found[0], next, "after {come}");
            next = found[found.len() - 1] + 1;
            next = if next == 1000 { 0 } else { next };
            next = if next == 700 { 701 } else { next };
            next = if next == 3 { 4 } else { next };
            assert!(
                found
                    .windows(2)
                    .all(|pair| pair[0] < pair[1] || pair[1] == 0)
            );
            come += found.len() as u64;
            say(&mut theirs, Kind::Taken, &[]);
        }
        assert_eq!(come, PAGES);
        say(&mut theirs, Kind::Complete, &[]);
        assert_eq!(served.join().unwrap().unwrap(), (0, 3));
    });
}

#[test]
fn only_so_much_is_on_its_way() {
    let (mut sender, mut theirs) = source();
    let mut server = PageServer::new(all());
    let sent = server.send_all(&mut sender, Duration::from_millis(50), |_, _| {});
    assert!(matches!(sent, Err(FrameError::Silent)));
    let on_its_way = u64::from(WINDOW) * BATCH as u64;
    assert_eq!(server.left(), PAGES - on_its_way);
    assert_eq!(pages(&mut theirs).len(), BATCH);
}

#[test]
fn on_another_connection_the_target_says_what_it_lacks() {
    let (mut sender, mut theirs) = source();
    let mut server = PageServer::new(PageSet::new(PAGES));
    server.begin_anew();
    say(&mut theirs, Kind::Missing, &[5, 2, 900, 1]);
    say(&mut theirs, Kind::Missing, &[]);
    say(&mut theirs, Kind::Wanted, &[900]);
    say(&mut theirs, Kind::Running, &[]);
    server.until(Kind::Running, &mut sender, PATIENCE).unwrap();
    assert_eq!((server.left(), pages(&mut theirs)), (2, vec![900]));
    // That is said at the beginning alone.
    say(&mut theirs, Kind::Missing, &[5, 2]);
    let sent = server.send_all(&mut sender, PATIENCE, |_, _| {});
    assert!(matches!(sent, Err(FrameError::Nonsense(_))));
}

#[test]
fn a_target_that_says_what_it_should_not_is_not_served() {
    let nonsense = |said: fn(&mut UnixStream)| {
        let error = refused(said);
        assert!(matches!(error, FrameError::Nonsense(_)), "{error:?}");
    };
    nonsense(|to| say(to, Kind::Taken, &[]));
    nonsense(|to| say(to, Kind::Wanted, &[PAGES]));
    nonsense(|to| say(to, Kind::Wanted, &[1; MOST_WANTED + 1]));
    nonsense(|to| frame::write(to, Kind::Wanted, &[0; 7]).unwrap());
    nonsense(|to| say(to, Kind::Missing, &[0, 1]));
    nonsense(|to| say(to, Kind::Ready, &[]));
    nonsense(|to| to.write_all(&[99, 0, 0, 0, 0, 0, 0, 0]).unwrap());
    let why = refused(|to| frame::write(to, Kind::Refused, b"no room").unwrap());
    assert_eq!(why.to_string(), "the other host says: no room");
    assert!(matches!(refused(|_| {}), FrameError::Gone));
}

#[test]
fn a_target_that_only_wants_and_takes_nothing_is_not_served_for_ever() {
    let (mut sender, mut theirs) = source();
    let mut server = PageServer::new(PageSet::new(PAGES));
    let patience = Duration::from_millis(50);
    thread::scope(|scope| {
        let wants = scope.spawn(move || {
            let body = 1u64.to_le_bytes();
            while frame::write(&mut theirs, Kind::Wanted, &body).is_ok() {}
        });
        let sent = server.until(Kind::Ready, &mut sender, patience);
        assert!(matches!(sent, Err(FrameError::Silent)));
        let sent = server.send_all(&mut sender, patience, |_, _| {});
        assert!(matches!(sent, Err(FrameError::Silent)));
        drop(sender);
        wants.join().unwrap();
    });
}

#[test]
fn a_frame_that_does_not_end_is_not_waited_for() {
    let (mut sender, mut theirs) = source();
    // A header that promises eight bytes, and one of them.
    theirs
        .write_all(&[Kind::Wanted as u8, 0, 0, 0, 8, 0, 0, 0, 1])
        .unwrap();
    let mut server = PageServer::new(PageSet::new(PAGES));
    let short = Duration::from_millis(50);
    let found = server.until(Kind::Ready, &mut sender, short);
    assert!(matches!(found, Err(FrameError::Silent)), "{found:?}");
}

#[test]
fn a_page_is_missing_once() {
    let (mut sender, mut theirs) = source();
    say(&mut theirs, Kind::Missing, &[5, 3, 7, 1]);
    let mut server = PageServer::new(PageSet::new(PAGES));
    server.begin_anew();
    let found = server.until(Kind::Ready, &mut sender, PATIENCE);
    assert!(matches!(found, Err(FrameError::Nonsense(_))), "{found:?}");
}
