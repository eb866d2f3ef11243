//! The `systoliq` command.

fn main() {}
