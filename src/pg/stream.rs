//! The stream as the main thread left it: what it was told of the tables, and whether it stands
//! still. Only this file sends the commands that change either, so that a stream that was paused is
//! resumed, with the tables as they are then.

use std::sync::Arc;

use super::network::Network;
use crate::mirror::stream_table::StreamTable;
use crate::source::link::Request;
use crate::source::stream::{StreamCommand, StreamRequest};

#[derive(Default)]
pub(super) struct Stream {
    /// Values come in their types' binary form.
    pub(super) binary: bool,
    told: Vec<Arc<StreamTable>>,
    paused: bool,
}

impl Stream {
    pub(super) fn start(&mut self, network: &Network, request: StreamRequest) {
        self.binary = request.binary;
        self.told.clone_from(&request.tables);
        network.ask(Request::Stream(request));
    }

    /// Whether it stands still, or goes by other tables than these: then it is to be resumed with
    /// them.
    pub(super) fn is_behind(&self, tables: &[Arc<StreamTable>]) -> bool {
        self.paused || self.told != tables
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Asks for a pause between two transactions: `Event::Paused` says when it has come.
    pub(super) fn ask_to_pause(&self, network: &Network) {
        network.ask(Request::Command(StreamCommand::Pause));
    }

    pub(super) fn has_paused(&mut self) {
        self.paused = true;
    }

    /// The change before which it stands comes again, with these tables.
    pub(super) fn refit(&mut self, network: &Network, tables: Vec<Arc<StreamTable>>) {
        self.told.clone_from(&tables);
        network.ask(Request::Command(StreamCommand::Refit { tables }));
    }

    /// It goes on, with these tables.
    pub(super) fn resume(&mut self, network: &Network, tables: Vec<Arc<StreamTable>>) {
        self.told.clone_from(&tables);
        self.paused = false;
        network.ask(Request::Command(StreamCommand::Resume { tables }));
    }
}
