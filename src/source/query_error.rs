//! What tokio-postgres reports, as an error of ours.

use crate::error::Error;

impl From<tokio_postgres::Error> for Error {
    /// A server's report is judged by its SQLSTATE; anything else is a connection that broke.
    fn from(error: tokio_postgres::Error) -> Self {
        let converted = match error.as_db_error() {
            Some(report) => {
                Error::reported(report.code().code(), report.message(), report.detail(), report.hint())
            }
            None => Error::retry("the session on the source failed").detail(format!("{error}.")),
        };
        converted.caused_by(error)
    }
}
