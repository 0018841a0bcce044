//! Two servers, driven from outside: what only shows when a real source streams into a real mirror.
//!
//! `ODOO_MIRROR_PG` chooses the major version (15). Tests in module `smoke` are the ones that run
//! on every version.

mod harness;

mod backlog;
mod blind;
mod calm;
mod comparing;
mod configuring;
mod content;
mod copies_of_it;
mod doctor;
mod doctor_each;
mod drifting;
mod dying;
mod ending;
mod exporters;
mod failing;
mod gate;
mod guarding;
mod harness_itself;
mod held_up;
mod installing;
mod living;
mod mirror_ddl;
mod monitoring;
mod old_stack;
mod one_table;
mod oracle;
mod own;
mod preparing;
mod publishing;
mod quarantining;
mod reading;
mod secrets;
mod smoke;
mod source_catalog;
mod source_checks;
mod source_cuts;
mod source_definitions;
mod source_wal;
mod telling;
mod text;
mod traffic;
mod waiting;
