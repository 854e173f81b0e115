//! The core as `service._native`. Its contract and its docs are in service/_native.pyi.
#![forbid(unsafe_code)]

use crate::envelope::{self, Scan as CoreScan};
use crate::event::Event as CoreEvent;
use crate::field::EventType;
use crate::ids::{self, IdFault};
use crate::violation::{Actual, Code, Malformed as CoreMalformed, Violation as CoreViolation};
use crate::{base36, hash};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

#[pyclass(module = "service._native")]
struct RequestIds(ids::RequestIds);

#[pymethods]
impl RequestIds {
    #[new]
    const fn new(seed: u64) -> Self {
        Self(ids::RequestIds::new(seed))
    }

    fn take(&mut self) -> (i64, String) {
        let id = self.0.take();
        (id.cast_signed(), base36::encode(id))
    }
}

#[pyclass(module = "service._native")]
struct RowIds(ids::RowIds);

#[pymethods]
impl RowIds {
    #[new]
    fn new(worker: i64) -> PyResult<Self> {
        Ok(Self(ids::RowIds::new(worker)?))
    }

    fn take(&mut self, now_ms: i64, count: i64) -> PyResult<Vec<i64>> {
        Ok(self.0.take(now_ms, count)?)
    }
}

impl From<IdFault> for PyErr {
    fn from(fault: IdFault) -> Self {
        match fault {
            IdFault::Invalid(message) => PyValueError::new_err(message),
            IdFault::Overflow(message) => PyOverflowError::new_err(message),
        }
    }
}

#[pyclass(frozen, get_all, module = "service._native")]
struct Scan {
    write_key: Option<Py<PyString>>,
    sent_at: Option<Py<PyString>>,
    context: Option<Py<PyBytes>>,
    count: usize,
    events: Py<PyList>,
}

#[pyclass(frozen, get_all, module = "service._native")]
#[expect(
    clippy::struct_field_names,
    reason = "event_id is one word, here as everywhere"
)]
struct Event {
    event_id: Option<Py<PyString>>,
    sent_at: Option<Py<PyString>>,
    content: Py<PyBytes>,
}

#[pyclass(frozen, get_all, module = "service._native")]
struct Violation {
    code: &'static str,
    field: Option<String>,
    message: String,
    event_id: Option<String>,
    payload: Py<PyBytes>,
}

#[pymethods]
impl Violation {
    fn __repr__(&self) -> String {
        format!(
            "Violation(code='{}', message={:?})",
            self.code, self.message
        )
    }
}

#[pyclass(frozen, get_all, module = "service._native")]
struct Malformed {
    code: &'static str,
    field: Option<String>,
    message: String,
    offset: Option<usize>,
    limit: Option<usize>,
    actual: Option<Py<PyAny>>,
}

#[pymethods]
impl Malformed {
    fn __repr__(&self) -> String {
        format!(
            "Malformed(code='{}', message={:?})",
            self.code, self.message
        )
    }
}

fn text(py: Python<'_>, text: Option<String>) -> Option<Py<PyString>> {
    text.map(|text| PyString::new(py, &text).unbind())
}

fn scan(py: Python<'_>, scan: CoreScan) -> PyResult<Scan> {
    let events = PyList::empty(py);
    for event in scan.events {
        match event {
            Ok(event) => events.append(Py::new(py, self::event(py, event))?)?,
            Err(refused) => events.append(Py::new(py, violation(py, *refused))?)?,
        }
    }
    Ok(Scan {
        write_key: text(py, scan.write_key),
        sent_at: text(py, scan.sent_at),
        context: scan
            .context
            .map(|context| PyBytes::new(py, &context).unbind()),
        count: scan.count,
        events: events.unbind(),
    })
}

fn event(py: Python<'_>, event: CoreEvent) -> Event {
    Event {
        event_id: text(py, event.event_id),
        sent_at: text(py, event.sent_at),
        content: PyBytes::new(py, &event.content).unbind(),
    }
}

fn violation(py: Python<'_>, violation: CoreViolation) -> Violation {
    Violation {
        code: violation.code.name(),
        field: violation.field,
        message: violation.message,
        event_id: violation.event_id,
        payload: PyBytes::new(py, &violation.payload).unbind(),
    }
}

fn malformed(py: Python<'_>, malformed: CoreMalformed) -> PyResult<Malformed> {
    let actual = match malformed.actual {
        None => None,
        Some(Actual::Count(count)) => Some(count.into_pyobject(py)?.into_any().unbind()),
        Some(Actual::Text(text)) => Some(text.into_pyobject(py)?.into_any().unbind()),
    };
    Ok(Malformed {
        code: malformed.code.name(),
        field: malformed.field,
        message: malformed.message,
        offset: malformed.offset,
        limit: malformed.limit,
        actual,
    })
}

fn answer(
    py: Python<'_>,
    scanned: Result<CoreScan, Box<CoreMalformed>>,
) -> PyResult<Bound<'_, PyAny>> {
    Ok(match scanned {
        Ok(taken) => Bound::new(py, scan(py, taken)?)?.into_any(),
        Err(refused) => Bound::new(py, malformed(py, *refused)?)?.into_any(),
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
fn row_id_parts(id: i64) -> PyResult<(i64, i64, i64)> {
    Ok(ids::row_id_parts(id)?)
}

#[pyfunction]
fn event_key(event_id: &str) -> [u8; hash::EVENT_KEY_BYTES] {
    hash::event_key(event_id)
}

#[pyfunction]
fn content_hash(workspace_id: i64, content: &[u8]) -> i64 {
    hash::content_hash(workspace_id, content)
}

#[pyfunction]
fn is_same_content(stored: i64, given: i64) -> bool {
    hash::is_same_content(stored, given)
}

#[pyfunction]
fn scan_event<'py>(py: Python<'py>, body: &[u8], event_type: &str) -> PyResult<Bound<'py, PyAny>> {
    let expected = EventType::find(event_type).ok_or_else(|| {
        let names = EventType::NAMES;
        PyValueError::new_err(format!(
            "event_type must be one of {names}, this is {event_type:?}"
        ))
    })?;
    answer(py, envelope::scan_event(body, expected))
}

#[pyfunction]
fn scan_batch<'py>(py: Python<'py>, body: &[u8], events_max: usize) -> PyResult<Bound<'py, PyAny>> {
    answer(py, envelope::scan_batch(body, events_max))
}

#[pyfunction]
fn violation_codes() -> Vec<&'static str> {
    Code::ALL.map(Code::name).to_vec()
}

#[pymodule]
mod _native {
    use crate::{hash, ids};
    use pyo3::prelude::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_export]
    use super::{Event, Malformed, RequestIds, RowIds, Scan, Violation};

    #[pymodule_export]
    use super::{
        base36_decode, base36_encode, content_hash, event_key, is_same_content, row_id_parts,
        scan_batch, scan_event, violation_codes,
    };

    #[pymodule_export]
    const ROW_ID_EPOCH_MS: i64 = ids::ROW_ID_EPOCH_MS;

    #[pymodule_export]
    const CONTENT_HASH_VERSION: u64 = hash::CONTENT_HASH_VERSION;

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
