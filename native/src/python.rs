//! The core as `service._native`. Its contract and its docs are in service/_native.pyi.
#![forbid(unsafe_code)]

mod ids;
mod rows;
mod scan;

use crate::envelope::{self, Scan as CoreScan};
use crate::field::EventType;
use crate::violation::{Code, Malformed as CoreMalformed};
use crate::{base36, hash, row};
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
fn base36_encode(value: u64) -> String {
    base36::encode(value)
}

#[pyfunction]
fn base36_decode(text: &str) -> PyResult<u64> {
    base36::decode(text).map_err(PyValueError::new_err)
}

#[pyfunction]
fn event_key(event_id: &str) -> [u8; hash::EVENT_KEY_BYTES] {
    hash::event_key(event_id)
}

#[pyfunction]
fn sha256(content: &[u8]) -> [u8; hash::SHA_256_BYTES] {
    hash::sha256(content)
}

#[pyfunction]
fn is_same_content(stored: i64, given: i64) -> bool {
    hash::is_same_content(stored, given)
}

#[pyfunction]
fn scan_event<'py>(body: &Bound<'py, PyBytes>, event_type: &str) -> PyResult<Bound<'py, PyAny>> {
    let expected = EventType::find(event_type).ok_or_else(|| {
        let names = EventType::NAMES;
        PyValueError::new_err(format!(
            "event_type must be one of {names}, this is {event_type:?}"
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
fn violation_codes() -> Vec<&'static str> {
    Code::ALL.map(Code::name).to_vec()
}

#[pymodule]
mod _native {
    use crate::{envelope, hash};
    use pyo3::prelude::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_export]
    use super::ids::{RequestIds, RowIds};

    #[pymodule_export]
    use super::rows::{Plan, Row, Rows};

    #[pymodule_export]
    use super::scan::{Event, Malformed, Scan, Violation};

    #[pymodule_export]
    use super::{
        base36_decode, base36_encode, event_columns, event_key, is_same_content, scan_batch,
        scan_event, sha256, violation_codes,
    };

    #[pymodule_export]
    const CONTENT_HASH_VERSION: u64 = hash::CONTENT_HASH_VERSION;

    #[pymodule_export]
    const BATCH_CONTEXT_BYTES_MAX: usize = envelope::BATCH_CONTEXT_BYTES_MAX;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let profile = if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        };
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("build_profile", profile)?;
        module.add("source_fingerprint", env!("SOURCE_FINGERPRINT"))
    }
}
