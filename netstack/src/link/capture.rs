//! Records what passes a device as a pcapng file, with nanosecond time stamps.

use std::borrow::Cow;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::time::{SystemTime, UNIX_EPOCH};

use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};

use super::{Device, DeviceCaps, Medium};
use crate::buf::{RxBatch, TxBatch, TxPacket};
use crate::time::{Duration, Instant};

/// Time stamps count 10^-9 seconds.
const TSRESOL_NANOSECONDS: u8 = 9;

/// Which way a packet went: the lowest two bits of a packet's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received.
    In = 1,
    /// Sent.
    Out = 2,
}

/// Writes a pcapng file of one interface.
pub struct Recorder<W: Write> {
    writer: PcapNgWriter<W>,
}

impl<W: Write> Recorder<W> {
    /// Writes the file's beginning.
    ///
    /// # Errors
    /// The writer's.
    pub fn new(writer: W, medium: Medium) -> io::Result<Self> {
        let mut writer = PcapNgWriter::new(writer).map_err(to_io)?;
        let linktype = match medium {
            Medium::Ip => DataLink::RAW,
            Medium::Ethernet => DataLink::ETHERNET,
        };
        let mut interface = InterfaceDescriptionBlock::new(linktype, 0);
        interface
            .options
            .push(InterfaceDescriptionOption::IfTsResol(TSRESOL_NANOSECONDS));
        writer.write_pcapng_block(interface).map_err(to_io)?;
        Ok(Self { writer })
    }

    /// Writes a packet of `original_len` bytes, of which `data` are kept. `at` is the time since 1970.
    ///
    /// # Errors
    /// The writer's.
    pub fn record(
        &mut self,
        at: Duration,
        data: &[u8],
        original_len: usize,
        direction: Direction,
    ) -> io::Result<()> {
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: at,
            original_len: original_len as u32,
            data: Cow::Borrowed(data),
            options: vec![EnhancedPacketOption::Flags(direction as u32)],
        };
        self.writer.write_pcapng_block(block).map_err(to_io)?;
        Ok(())
    }

    /// So that the file can be watched as it grows.
    ///
    /// # Errors
    /// The writer's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.get_mut().flush()
    }

    /// The writer, with everything recorded so far.
    pub fn into_writer(self) -> W {
        self.writer.into_inner()
    }
}

/// A device whose packets are recorded as they pass. Recording ends at the first error of the
/// writer, which [`Capture::error`] then tells; the traffic goes on.
pub struct Capture<D, W: Write> {
    inner: D,
    recorder: Recorder<W>,
    /// What to add to an instant of the stack for the time since 1970.
    epoch: Duration,
    error: Option<io::Error>,
}

impl<D: Device, W: Write> Capture<D, W> {
    /// Records `inner` into `writer`. `epoch` is the time since 1970 at [`Instant::ZERO`].
    ///
    /// # Errors
    /// The writer's, when the file header cannot be written.
    pub fn new(inner: D, writer: W, epoch: Duration) -> io::Result<Self> {
        Ok(Self {
            recorder: Recorder::new(writer, inner.caps().medium)?,
            inner,
            epoch,
            error: None,
        })
    }

    /// The error that ended the recording, if one did.
    pub fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    /// The writer, with everything recorded so far.
    pub fn into_writer(self) -> W {
        self.recorder.into_writer()
    }

    fn record(&mut self, at: Instant, data: &[u8], direction: Direction) {
        if self.error.is_none() {
            let at = self.epoch + Duration::from_nanos(at.as_nanos());
            let done = self.recorder.record(at, data, data.len(), direction);
            self.error = done.err();
        }
    }
}

fn to_io(error: pcap_file::PcapError) -> io::Error {
    match error {
        pcap_file::PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

/// The time since 1970 at [`Instant::ZERO`], for a driver whose clock shows `now`.
pub fn epoch_at(now: Instant) -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .saturating_sub(now.since(Instant::ZERO))
}

impl<D: Device, W: Write> Device for Capture<D, W> {
    fn caps(&self) -> DeviceCaps {
        self.inner.caps()
    }

    fn receive(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        let got = self.inner.receive(now, batch)?;
        let first = batch.len() - got;
        for packet in &batch[first..] {
            self.record(packet.arrival, &packet.data, Direction::In);
        }
        if got > 0 {
            // An error shows at the next packet.
            let _ = self.recorder.flush();
        }
        Ok(got)
    }

    fn transmit(&mut self, now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        let offered: Vec<TxPacket> = batch.iter().cloned().collect();
        let taken = self.inner.transmit(now, batch)?;
        for packet in &offered[..taken] {
            self.record(now, &packet.to_vec(), Direction::Out);
        }
        Ok(taken)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.inner.poll_timeout()
    }

    fn transmit_pending(&self) -> bool {
        self.inner.transmit_pending()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.fd()
    }

    fn announces_room(&self) -> bool {
        self.inner.announces_room()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buf::Bytes;
    use crate::link::loopback::Loopback;
    use pcap_file::pcapng::{Block, PcapNgReader};

    #[test]
    fn both_directions_are_recorded_to_the_nanosecond() {
        let epoch = Duration::from_secs(1_700_000_000);
        let mut device = Capture::new(Loopback::default(), Vec::new(), epoch).unwrap();
        let mut packet = TxPacket::default();
        packet.body.push(Bytes::from_static(b"there and back"));
        let mut out: TxBatch = [packet].into_iter().collect();
        device.transmit(Instant::from_nanos(7), &mut out).unwrap();
        device
            .receive(Instant::from_nanos(1_000_000_009), &mut RxBatch::new())
            .unwrap();

        let file = device.into_writer();
        let mut reader = PcapNgReader::new(&file[..]).unwrap();
        let mut seen = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Block::EnhancedPacket(packet) = block.unwrap() {
                assert_eq!(&packet.data[..], b"there and back");
                let way = packet.options.iter().find_map(|option| match option {
                    EnhancedPacketOption::Flags(flags) => Some(*flags),
                    _ => None,
                });
                seen.push((packet.timestamp, way));
            }
        }
        assert_eq!(
            seen,
            [
                (epoch + Duration::from_nanos(7), Some(2)),
                (epoch + Duration::from_nanos(1_000_000_009), Some(1)),
            ]
        );
    }
}
