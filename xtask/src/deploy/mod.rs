//! What is in `deploy/`: the chart, the manifests that come from it, and the image.

mod dockerfile;
mod image;
mod manifests;

pub(crate) use image::{Args as ImageArgs, archive, command as image};
pub(crate) use manifests::{Args as ManifestsArgs, check, command as manifests};
