use super::*;

/// A disk in memory.
#[derive(Debug)]
struct Ram(Mutex<Vec<u8>>);

impl BlockDevice for Ram {
    fn len(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&self.0.lock().unwrap()[at..at + buf.len()]);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        self.0.lock().unwrap()[at..at + buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, len: u64, _unmap: bool) -> io::Result<()> {
        self.write_at(&vec![0; usize::try_from(len).unwrap()], offset)
    }

    fn identify(&self) -> String {
        "ram".into()
    }
}

#[test]
fn it_knows_what_was_written_while_somebody_wants_to_know() {
    let disk = Tracked::new(Arc::new(Ram(Mutex::new(vec![0; 100 * 65536 + 512]))));
    disk.write_at(&[1; 512], 0).unwrap();
    assert!(disk.take_written().is_empty());
    disk.track(true);
    assert!(disk.take_written().is_empty());
    disk.write_at(&[1; 1024], CHUNK - 512).unwrap();
    disk.write_at(&[], 5 * CHUNK).unwrap();
    disk.write_zeroes(70 * CHUNK, 2 * CHUNK, true).unwrap();
    disk.discard(100 * CHUNK, 512).unwrap();
    assert_eq!(disk.take_written(), [0, 1, 70, 71, 100]);
    assert!(disk.take_written().is_empty());
    disk.write_at(&[1; 512], 0).unwrap();
    disk.track(false);
    assert!(disk.take_written().is_empty());
}
