//! What one process leaves and the next one finds, as the kernel would ask; and the container tree
//! as programs see it.

mod client;
mod containers;
mod pressure;
mod shared;
