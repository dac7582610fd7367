//! Renderers: the host's text and a view give the text that the container reads.
//!
//! A renderer is a plain function. It cannot block, and it allocates nothing but the output, which
//! grows as it needs to and is never cut short. A part of the view that is `None` stands for the
//! host's, whose bytes then come out unchanged.

pub(crate) mod cpuinfo;
pub(crate) mod cpuinfo_x86;
pub(crate) mod diskstats;
pub(crate) mod interrupts;
pub(crate) mod loadavg;
pub mod meminfo;
pub(crate) mod partitions;
pub(crate) mod schedstat;
pub(crate) mod slabinfo;
pub(crate) mod stat;
pub(crate) mod swaps;
pub(crate) mod sys_block;
pub mod sys_cpu;
pub(crate) mod sys_node;
pub(crate) mod uptime;
pub mod vmstat;
pub(crate) mod zoneinfo;

use crate::ResourceView;

/// A renderer: the host file's bytes, the view, and where to append the content.
pub type Renderer = fn(&[u8], &ResourceView, &mut Vec<u8>) -> Result<(), RenderError>;

/// A renderer of a file about one NUMA node, whose number comes second.
pub type NodeRenderer = fn(&[u8], u32, &ResourceView, &mut Vec<u8>) -> Result<(), RenderError>;

/// A renderer of a file about one disk, whose device number (major, minor) comes second; `None`: it
/// could not be told.
pub type DiskRenderer =
    fn(&[u8], Option<(u32, u32)>, &ResourceView, &mut Vec<u8>) -> Result<(), RenderError>;

/// Why a file could not be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The host's text is not what this kernel file should hold.
    #[error("the host's {file} is not understood: {what}; please report it with the file's text")]
    HostText {
        /// The file.
        file: &'static str,
        /// What is wrong with it.
        what: String,
    },
}
