//! Reads a request's body, up to a length.

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};

/// A body that was read.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Read {
    /// All of it.
    Whole(Vec<u8>),
    /// It is longer than allowed; this is its beginning.
    Beginning(Vec<u8>),
}

/// How much more than it may have is taken from a caller and thrown away, so that it hears our answer:
/// who is still sending when the connection closes may see nothing but a reset.
const DRAINED_BYTES: usize = 64 << 20;

/// Reads a body of at most `most` bytes.
///
/// # Errors
/// The caller broke off.
pub(super) async fn read<B>(mut body: B, most: usize) -> Result<Read, B::Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut text = Vec::new();
    let mut thrown_away = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let kept = data.len().min(most - text.len());
        let (keep, rest) = data.split_at(kept);
        text.extend_from_slice(keep);
        thrown_away += rest.len();
        if thrown_away > DRAINED_BYTES {
            break;
        }
    }
    Ok(if thrown_away == 0 { Read::Whole(text) } else { Read::Beginning(text) })
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    fn read_of(length: usize) -> Read {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(read(Full::new(Bytes::from(vec![b'x'; length])), 10)).unwrap()
    }

    #[test]
    fn a_body_is_read_up_to_its_limit() {
        assert_eq!(read_of(0), Read::Whole(vec![]));
        assert_eq!(read_of(10), Read::Whole(vec![b'x'; 10]));
        assert_eq!(read_of(11), Read::Beginning(vec![b'x'; 10]));
        assert_eq!(read_of(DRAINED_BYTES + 99), Read::Beginning(vec![b'x'; 10]));
    }
}
