use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{WaitOptions, WaitStatus, waitpid};

use super::*;

fn exec(argv: &[&str], terminal: Option<Size>) -> Exec {
    Exec {
        terminal,
        user: OsString::new(),
        cwd: "/".into(),
        argv: argv.iter().map(OsString::from).collect(),
        env: vec!["GREETING=hello".into()],
    }
}

/// Runs a job to its end and returns (stdout, stderr, status).
fn finish(mut job: Job) -> (Vec<u8>, Vec<u8>, WaitStatus) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    while job.outputs().next().is_some() {
        assert!(Instant::now() < deadline, "the job did not end");
        job.write_input();
        job.read_outputs(|kind, bytes| match kind {
            Kind::Stdout => stdout.extend_from_slice(bytes),
            _ => stderr.extend_from_slice(bytes),
        });
        let mut fds: Vec<PollFd<'_>> = job
            .outputs()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        fds.extend(
            job.wants_write()
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)),
        );
        if !fds.is_empty() {
            poll(&mut fds, None).unwrap();
        }
    }
    let (_, status) = waitpid(Some(job.pid), WaitOptions::empty())
        .unwrap()
        .unwrap();
    (stdout, stderr, status)
}

#[test]
fn the_two_outputs_stay_apart_and_the_status_is_the_childs() {
    let script = "echo $GREETING; echo oops >&2; exit 7";
    let job = Job::start(&exec(&["/bin/sh", "-c", script], None)).unwrap();
    let (stdout, stderr, status) = finish(job);
    assert_eq!(stdout, b"hello\n");
    assert_eq!(stderr, b"oops\n");
    assert_eq!(status.exit_status(), Some(7));
}

#[test]
fn words_need_not_be_utf_8() {
    let mut order = exec(&["/bin/sh", "-c", "printf %s \"$1$ODD\"", "sh"], None);
    order.argv.push(OsStr::from_bytes(b"a\xff").to_owned());
    order.env.push(OsStr::from_bytes(b"ODD=\xfeb=c").to_owned());
    let (stdout, _, _) = finish(Job::start(&order).unwrap());
    assert_eq!(stdout, b"a\xff\xfeb=c");
}

#[test]
fn input_larger_than_a_pipe_arrives_in_order_and_ends() {
    let mut job = Job::start(&exec(&["/bin/sh", "-c", "wc -c"], None)).unwrap();
    job.feed(&[b'x'; crate::frame::STDIN_WINDOW]);
    job.end_input();
    let (stdout, _, _) = finish(job);
    assert_eq!(String::from_utf8(stdout).unwrap().trim(), "262144");
}

#[test]
fn a_child_that_reads_nothing_gives_its_window_back_when_it_ends() {
    let mut job = Job::start(&exec(&["/bin/sh", "-c", "exec <&-; echo done"], None)).unwrap();
    job.feed(&[b'x'; 60_000]);
    let (stdout, _, status) = finish(job);
    assert_eq!(stdout, b"done\n");
    assert_eq!(status.exit_status(), Some(0));
}

#[test]
fn a_terminal_has_the_size_that_was_asked_for() {
    let size = Size {
        columns: 101,
        rows: 37,
    };
    let job = Job::start(&exec(&["/bin/sh", "-c", "stty size; tty"], Some(size))).unwrap();
    let (stdout, stderr, _) = finish(job);
    let text = String::from_utf8(stdout).unwrap();
    assert!(text.starts_with("37 101"), "{text:?}");
    assert!(text.contains("/dev/pts/"), "{text:?}");
    assert!(stderr.is_empty());
}

#[test]
fn a_program_that_is_not_there_is_an_error_and_not_a_job() {
    let error = Job::start(&exec(&["/no/such/program"], None)).unwrap_err();
    assert_eq!(error.errno, libc::ENOENT);
    let mut elsewhere = exec(&["/bin/true"], None);
    elsewhere.cwd = "/no/such/directory".into();
    assert_eq!(Job::start(&elsewhere).unwrap_err().errno, libc::ENOTDIR);
}

#[test]
fn a_signal_reaches_the_whole_group() {
    let job = Job::start(&exec(&["/bin/sh", "-c", "sleep 1000; true"], None)).unwrap();
    job.signal(libc::SIGTERM);
    let (_, _, status) = finish(job);
    assert_eq!(status.terminating_signal(), Some(libc::SIGTERM));
}

#[test]
fn a_child_has_no_signal_blocked_whatever_the_agent_receives() {
    let _signals = crate::sys_raw::receive_signals(&[libc::SIGUSR2]).unwrap();
    let job = Job::start(&exec(&["/bin/sh", "-c", "kill -USR2 $$"], None)).unwrap();
    let (_, _, status) = finish(job);
    assert_eq!(status.terminating_signal(), Some(libc::SIGUSR2));
}

#[test]
fn output_that_nobody_takes_stops_at_the_window() {
    let mut job = Job::start(&exec(&["/bin/sh", "-c", "yes | head -c 400000"], None)).unwrap();
    let mut sent = 0;
    let deadline = Instant::now() + Duration::from_secs(60);
    while !job.is_held_back() {
        assert!(Instant::now() < deadline, "the window has no end");
        job.read_outputs(|_, bytes| sent += bytes.len());
    }
    assert_eq!((sent, job.outputs().count()), (OUTPUT_WINDOW, 0));
    job.give_credit(OUTPUT_WINDOW);
    let (stdout, _, _) = finish(job);
    assert_eq!(sent + stdout.len(), 400_000);
}
