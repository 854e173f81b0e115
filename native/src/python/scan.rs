//! The Python classes of a scanned body and of its errors.
#![forbid(unsafe_code)]

use super::ids::RowIds;
use super::rows::Rows;
use crate::event::envelope::Scan as CoreScan;
use crate::event::violation::{Actual, Malformed as CoreMalformed, Violation as CoreViolation};
use crate::rows::payload::Rows as CoreRows;
use crate::rows::plan::Part;
use crate::rows::row::Arrival as CoreArrival;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use std::sync::Arc;

#[pyclass(frozen, module = "service._native")]
pub(super) struct Scan {
    body: Py<PyBytes>,
    scan: CoreScan,
}

/// The values that all events of one request share. Read from a Python object with these
/// attributes.
#[derive(FromPyObject)]
struct Arrival {
    tenant_id: i64,
    workspace_id: i64,
    key_id: Py<PyString>,
    request_id: i64,
    received_at_us: i64,
    schema_version: String,
}

#[pyclass(frozen, get_all, module = "service._native")]
pub(super) struct Violation {
    code: &'static str,
    field: Option<String>,
    message: String,
    event_id: Option<String>,
    payload: Py<PyBytes>,
}

#[pyclass(frozen, get_all, module = "service._native")]
pub(super) struct Malformed {
    code: &'static str,
    field: Option<String>,
    message: String,
    offset: Option<usize>,
    limit: Option<usize>,
    actual: Option<Py<PyAny>>,
}

/// An event without a row: its index in the body, the id that was reserved for its row, the reason.
type RefusedEventTuple = (usize, i64, Violation);

#[pymethods]
impl Scan {
    #[getter]
    fn write_key(&self) -> Option<&str> {
        self.scan.write_key.as_deref()
    }

    #[getter]
    const fn has_different_keys(&self) -> bool {
        self.scan.has_different_keys
    }

    #[getter]
    const fn count(&self) -> usize {
        self.scan.count
    }

    #[getter]
    const fn context_bytes(&self) -> usize {
        self.scan.context_bytes
    }

    fn rows(
        &self,
        py: Python<'_>,
        ids: &Bound<'_, RowIds>,
        arrival: Arrival,
        clock_skew_min_us: i64,
    ) -> PyResult<(Rows, Vec<RefusedEventTuple>)> {
        let facts = CoreArrival {
            tenant_id: arrival.tenant_id,
            workspace_id: arrival.workspace_id,
            request_id: arrival.request_id,
            received_at: arrival.received_at_us,
            clock_skew_min: clock_skew_min_us,
            schema_version: arrival.schema_version,
        };
        let (rows, refused) =
            CoreRows::new(&self.scan, self.text(py)?, &mut ids.borrow_mut().0, facts);
        let part = Part {
            range: 0..rows.rows.len(),
            rows: Arc::new(rows),
        };
        let refused = refused
            .into_iter()
            .map(|event| (event.index, event.id, violation(py, &event.violation)));
        Ok((Rows::new(part, arrival.key_id), refused.collect()))
    }
}

impl Scan {
    pub const fn new(body: Py<PyBytes>, scan: CoreScan) -> Self {
        Self { body, scan }
    }

    /// The body as text.
    fn text<'a>(&'a self, py: Python<'a>) -> PyResult<&'a str> {
        simdutf8::basic::from_utf8(self.body.as_bytes(py))
            .map_err(|_| PyValueError::new_err("the body has changed since it was scanned"))
    }
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

#[pymethods]
impl Malformed {
    fn __repr__(&self) -> String {
        format!(
            "Malformed(code='{}', message={:?})",
            self.code, self.message
        )
    }
}

fn violation(py: Python<'_>, violation: &CoreViolation) -> Violation {
    Violation {
        code: violation.code.name(),
        field: violation.field.clone(),
        message: violation.message.clone(),
        event_id: violation.event_id.clone(),
        payload: PyBytes::new(py, &violation.payload).unbind(),
    }
}

pub(super) fn malformed(py: Python<'_>, malformed: CoreMalformed) -> PyResult<Malformed> {
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
