//! The Python module `service._native`. Its documentation is in service/_native.pyi.
#![forbid(unsafe_code)]

mod ids;
mod rows;
mod scan;

use crate::event::envelope::{self, Scan as CoreScan};
use crate::event::field::EventType;
use crate::event::violation::{Code, Malformed as CoreMalformed};
use crate::rows::{content, row};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

fn answer<'py>(
    body: &Bound<'py, PyBytes>,
    scanned: Result<CoreScan, Box<CoreMalformed>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = body.py();
    Ok(match scanned {
        Ok(scan) => Bound::new(py, scan::Scan::new(body.clone().unbind(), scan))?.into_any(),
        Err(refused) => Bound::new(py, scan::malformed(py, *refused)?)?.into_any(),
    })
}

#[pyfunction]
fn sha256(content: &[u8]) -> [u8; crate::ids::SHA_256_BYTES] {
    crate::ids::sha256(content)
}

#[pyfunction]
fn is_same_content(stored: i64, given: i64) -> bool {
    content::is_same_content(stored, given)
}

#[pyfunction]
fn scan_event<'py>(body: &Bound<'py, PyBytes>, event_type: &str) -> PyResult<Bound<'py, PyAny>> {
    let expected = EventType::find(event_type).ok_or_else(|| {
        let names = EventType::NAMES;
        PyValueError::new_err(format!(
            "event_type must be one of {names}, but is {event_type:?}"
        ))
    })?;
    answer(body, envelope::scan_event(body.as_bytes(), expected))
}

#[pyfunction]
fn scan_batch<'py>(body: &Bound<'py, PyBytes>, events_max: usize) -> PyResult<Bound<'py, PyAny>> {
    answer(body, envelope::scan_batch(body.as_bytes(), events_max))
}

#[pyfunction]
fn event_columns() -> Vec<&'static str> {
    row::COLUMNS.map(|(name, _)| name).to_vec()
}

#[pyfunction]
fn content_names() -> Vec<&'static str> {
    content::names()
}

#[pyfunction]
fn violation_codes() -> Vec<&'static str> {
    Code::ALL.map(Code::name).to_vec()
}

#[pymodule]
mod _native {
    use pyo3::prelude::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_export]
    use super::ids::{RequestIds, RowIds};

    #[pymodule_export]
    use super::rows::{Plan, Row, Rows};

    #[pymodule_export]
    use super::scan::{Malformed, Scan, Violation};

    #[pymodule_export]
    use super::{
        content_names, event_columns, is_same_content, scan_batch, scan_event, sha256,
        violation_codes,
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
