//! What one process leaves and the next one finds, as the kernel would ask.

mod client;
mod pressure;
mod shared;
