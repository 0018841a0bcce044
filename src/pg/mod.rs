use pgrx::prelude::*;
#[pg_extern]
fn hello() -> i32 { 1 }
