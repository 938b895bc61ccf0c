//! What a program of the host says before it is connected: `CONNECT PORT\n`.

use std::io::{ErrorKind, Read};

/// Longer than any port makes it.
const LONGEST: usize = 32;
const WORD: &[u8] = b"CONNECT ";

/// What has come of it.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    line: Vec<u8>,
}

/// How far a greeting is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Greeted {
    NotYet,
    Port(u32),
    /// Gone, or it speaks something else.
    Nonsense,
}

impl Greeting {
    /// Reads on, and nothing of what follows the line: that is for the guest.
    pub(super) fn read(&mut self, mut stream: impl Read) -> Greeted {
        let mut byte = [0];
        loop {
            match stream.read(&mut byte) {
                Ok(0) => return Greeted::Nonsense,
                Ok(_) if byte == *b"\n" => return parse(&self.line),
                Ok(_) if self.line.len() < LONGEST => self.line.push(byte[0]),
                Ok(_) => return Greeted::Nonsense,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Greeted::NotYet,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Greeted::Nonsense,
            }
        }
    }
}

fn parse(line: &[u8]) -> Greeted {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_word = line.len() > WORD.len() && line[..WORD.len()].eq_ignore_ascii_case(WORD);
    let digits = if is_word { &line[WORD.len()..] } else { b"" };
    let only_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| only_digits);
    text.and_then(|text| text.parse().ok())
        .map_or(Greeted::Nonsense, Greeted::Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeted(words: &[u8]) -> Greeted {
        Greeting::default().read(words)
    }

    #[test]
    fn only_a_port_is_a_greeting() {
        assert_eq!(greeted(b"CONNECT 80\nGET /"), Greeted::Port(80));
        assert_eq!(greeted(b"connect 4294967295\r\n"), Greeted::Port(u32::MAX));
        for nonsense in [
            &b"CONNECT 4294967296\n"[..],
            b"CONNECT +1\n",
            b"CONNECT \n",
            b"CONNECT\n",
            b"\n",
            b"CONNECT 8 0\n",
            b"CONNECT 80",
            b"CONNECT 00000000000000000000000000000000000000001\n",
            b"GET / HTTP/1.1\n",
        ] {
            assert_eq!(greeted(nonsense), Greeted::Nonsense, "{nonsense:?}");
        }
    }
}
