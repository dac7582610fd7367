//! The memory of an entry, and the command that hands it over: `fuse_uring_*` of linux/fuse.h.

use std::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi;

/// `FUSE_IO_URING_CMD_REGISTER`: here is a new entry.
pub(super) const REGISTER: u32 = 1;
/// `FUSE_IO_URING_CMD_COMMIT_AND_FETCH`: here is a reply, and the entry is free again.
pub(super) const COMMIT_AND_FETCH: u32 = 2;

/// `fuse_uring_req_header`. The kernel puts a request there; the reply goes into the same place.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    /// `fuse_in_header`, or `fuse_out_header` of the reply.
    pub(super) in_out: [u8; 128],
    /// The first structure of the request's body. What comes after is in the payload.
    pub(super) op_in: [u8; 128],
    pub(super) entry: EntryInOut,
}

/// `fuse_uring_ent_in_out`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct EntryInOut {
    pub(super) flags: u64,
    /// Names the request in the commit of its reply.
    pub(super) commit_id: u64,
    /// How much of the payload is used, by the request or by the reply, in bytes.
    pub(super) payload_sz: u32,
    pub(super) padding: u32,
    pub(super) reserved: u64,
}

/// `fuse_uring_cmd_req`, at the beginning of a submission's 80 bytes for commands.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Command {
    pub(super) flags: u64,
    pub(super) commit_id: u64,
    pub(super) qid: u16,
    pub(super) padding: [u8; 6],
}

const _: () = {
    assert!(size_of::<Header>() == 288 && offset_of!(Header, entry) == 256);
    assert!(size_of::<EntryInOut>() == 32 && offset_of!(EntryInOut, payload_sz) == 16);
    assert!(size_of::<Command>() == 24 && offset_of!(Command, qid) == 16);
};

impl Header {
    pub(super) const EMPTY: Self = Self {
        in_out: [0; 128],
        op_in: [0; 128],
        entry: EntryInOut { flags: 0, commit_id: 0, payload_sz: 0, padding: 0, reserved: 0 },
    };

    /// The request in one piece, as the device would have given it, at the beginning of `to`: its
    /// length. `None` where the parts do not fit together, or `to` is too small.
    pub(super) fn assemble(&self, payload: &[u8], to: &mut [u8]) -> Option<usize> {
        let (header, _) = abi::InHeader::read_from_prefix(&self.in_out).ok()?;
        let head = size_of::<abi::InHeader>();
        let len = usize::try_from(header.len).ok()?;
        let payload = payload.get(..usize::try_from(self.entry.payload_sz).ok()?)?;
        let op = self.op_in.get(..len.checked_sub(head)?.checked_sub(payload.len())?)?;
        let mut to = to.get_mut(..len)?;
        for part in [self.in_out.get(..head)?, op, payload] {
            let (place, rest) = to.split_at_mut_checked(part.len())?;
            place.copy_from_slice(part);
            to = rest;
        }
        Some(len)
    }

    /// Puts the header of `reply` in place of the request's: the body, which belongs to the
    /// payload. `None` where it is no reply, or has a body of more than `room` bytes.
    pub(super) fn answer<'r>(&mut self, reply: &'r [u8], room: usize) -> Option<&'r [u8]> {
        let (head, body) = reply.split_at_checked(size_of::<abi::OutHeader>())?;
        let payload_sz = u32::try_from(body.len()).ok().filter(|_| body.len() <= room)?;
        self.in_out.get_mut(..head.len())?.copy_from_slice(head);
        let commit_id = self.entry.commit_id;
        self.entry = EntryInOut { commit_id, payload_sz, ..EntryInOut::default() };
        Some(body)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(len: u32, payload_sz: u32) -> Header {
        let mut header = Header::EMPTY;
        let request = abi::InHeader { len, opcode: 1, unique: 8, ..Default::default() };
        header.in_out[..40].copy_from_slice(request.as_bytes());
        header.op_in = std::array::from_fn(|byte| u8::try_from(byte).unwrap());
        header.entry = EntryInOut { commit_id: 8, payload_sz, ..Default::default() };
        header
    }

    #[test]
    fn a_request_is_put_together_from_its_three_parts() {
        let (header, mut to) = (header(40 + 16 + 3, 3), [0xee; 100]);
        assert_eq!(header.assemble(b"name", &mut to), Some(59));
        assert_eq!(to[..40], header.in_out[..40]);
        assert_eq!(to[40..56], header.op_in[..16]);
        assert_eq!(to[56..60], *b"nam\xee");
    }

    #[test]
    fn parts_that_do_not_fit_together_are_no_request() {
        let assembled = |len, payload_sz| header(len, payload_sz).assemble(&[0; 64], &mut [0; 256]);
        assert_eq!(assembled(40, 0), Some(40));
        assert_eq!(assembled(39, 0), None, "no header");
        assert_eq!(assembled(40, 1), None, "a payload that is not in the length");
        assert_eq!(assembled(40 + 65, 65), None, "more than there is");
        assert_eq!(assembled(40 + 129, 0), None, "more than a structure's place");
        assert_eq!(assembled(40 + 128 + 64, 64), Some(232));
        assert_eq!(header(60, 0).assemble(&[], &mut [0; 59]), None, "no room");
    }

    #[test]
    fn a_reply_takes_the_place_of_its_request() {
        let mut header = header(40, 0);
        let reply: Vec<u8> = (100..130).collect();
        assert_eq!(header.answer(&reply, 14), Some(&reply[16..]));
        assert_eq!(header.in_out[..16], reply[..16]);
        assert_eq!((header.entry.commit_id, header.entry.payload_sz), (8, 14));
        assert_eq!(header.answer(&reply, 13), None);
        assert_eq!(header.answer(&reply[..15], 100), None);
    }

    proptest! {
        #[test]
        fn any_memory_is_a_request_or_not(
            len in any::<u32>(), size in any::<u32>(), room in 0_usize..400,
        ) {
            let (header, mut to) = (header(len, size), vec![0; room]);
            let assembled = header.assemble(&[0; 64], &mut to);
            prop_assert!(assembled.is_none_or(|len| len <= room));
        }
    }
}
