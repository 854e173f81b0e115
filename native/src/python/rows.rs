//! The Python classes of the rows of a payload, a single row, and the plan of a flush.
#![forbid(unsafe_code)]

use crate::event::field::EventType;
use crate::rows::payload::Row as CoreRow;
use crate::rows::plan::{Part, Plan as CorePlan};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use std::collections::HashSet;
use std::io::Write;

#[pyclass(frozen, module = "service._native")]
pub(super) struct Rows {
    part: Part,
    key_id: Py<PyString>,
}

#[pyclass(frozen, module = "service._native")]
pub(super) struct Plan {
    plan: CorePlan,
    key_ids: Vec<Py<PyString>>,
}

#[pyclass(frozen, get_all, module = "service._native")]
pub(super) struct Row {
    id: i64,
    tenant_id: i64,
    workspace_id: i64,
    key_id: Py<PyString>,
    event_key: Py<PyBytes>,
    payload_hash: i64,
    event_id: String,
    content: Py<PyBytes>,
    request_id: i64,
    sent_at_us: Option<i64>,
    received_at_us: i64,
}

#[pymethods]
impl Rows {
    fn __len__(&self) -> usize {
        self.part.range.len()
    }

    #[getter]
    fn key_id(&self, py: Python<'_>) -> Py<PyString> {
        self.key_id.clone_ref(py)
    }

    #[getter]
    fn received_at_us(&self) -> i64 {
        self.part.rows.arrival.received_at
    }

    #[getter]
    fn size_bytes(&self) -> usize {
        self.part.rows.size()
    }

    #[getter]
    fn types<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let types = PyDict::new(py);
        for (event_type, &count) in EventType::ALL.iter().zip(&self.part.rows.types) {
            if count > 0 {
                types.set_item(event_type.name(), count)?;
            }
        }
        Ok(types)
    }

    #[getter]
    fn ids(&self) -> Vec<i64> {
        self.part.rows().iter().map(|row| row.id).collect()
    }

    #[getter]
    fn event_ids(&self) -> Vec<&str> {
        let rows = self.part.rows().iter();
        rows.map(|row| self.part.rows.event_id(row)).collect()
    }

    fn accepted<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.part.rows.accepted(self.part.rows()))
    }

    fn all(&self, py: Python<'_>) -> Vec<Row> {
        let rows = self.part.rows().iter();
        rows.map(|row| Row::new(py, &self.part, row, &self.key_id))
            .collect()
    }

    fn part(&self, py: Python<'_>, start: usize, stop: usize) -> Self {
        let Part { rows, range } = &self.part;
        let end = range.start.saturating_add(stop).min(range.end);
        let range = range.start.saturating_add(start).min(end)..end;
        let rows = rows.clone();
        Self::new(Part { rows, range }, self.key_id.clone_ref(py))
    }

    fn copy_data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let plan = CorePlan::new(vec![self.part.clone()]);
        joined(py, plan.copy_data(&HashSet::new()))
    }
}

impl Rows {
    pub const fn new(part: Part, key_id: Py<PyString>) -> Self {
        Self { part, key_id }
    }
}

#[pymethods]
impl Plan {
    #[new]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a Python list cannot be borrowed whole"
    )]
    fn new(py: Python<'_>, parts: Vec<PyRef<'_, Rows>>) -> Self {
        Self {
            plan: CorePlan::new(parts.iter().map(|rows| rows.part.clone()).collect()),
            key_ids: parts.iter().map(|rows| rows.key_id.clone_ref(py)).collect(),
        }
    }

    const fn __len__(&self) -> usize {
        self.plan.count()
    }

    #[getter]
    const fn has_duplicates(&self) -> bool {
        self.plan.has_duplicates()
    }

    fn ledger_rows<'py>(&self, py: Python<'py>, oid: u32) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.plan.ledger_rows(oid))
    }

    fn event_rows<'py>(&self, py: Python<'py>, oid: u32) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.plan.event_rows(oid))
    }

    fn copy_data<'py>(&self, py: Python<'py>, ids: Vec<i64>) -> PyResult<Bound<'py, PyBytes>> {
        joined(py, self.plan.copy_data(&ids.into_iter().collect()))
    }

    fn not_inserted(&self, py: Python<'_>, ids: Vec<i64>) -> Vec<Row> {
        let rows = self.plan.not_inserted(&ids.into_iter().collect());
        rows.into_iter()
            .filter_map(|index| {
                let (part, row) = self.plan.at(index)?;
                Some(Row::new(py, part, row, self.key_ids.get(index.part)?))
            })
            .collect()
    }
}

impl Row {
    fn new(py: Python<'_>, part: &Part, row: &CoreRow, key_id: &Py<PyString>) -> Self {
        let rows = &part.rows;
        Self {
            id: row.id,
            tenant_id: rows.arrival.tenant_id,
            workspace_id: rows.arrival.workspace_id,
            key_id: key_id.clone_ref(py),
            event_key: PyBytes::new(py, &row.event_key).unbind(),
            payload_hash: row.payload_hash,
            event_id: rows.event_id(row).to_owned(),
            content: PyBytes::new(py, rows.content(row)).unbind(),
            request_id: rows.arrival.request_id,
            sent_at_us: rows.sent_at(row),
            received_at_us: rows.arrival.received_at,
        }
    }
}

/// Joins *pieces* directly in a Python object, so that a large flush is not allocated and copied
/// twice.
fn joined<'py, 'a>(
    py: Python<'py>,
    pieces: impl Iterator<Item = &'a [u8]> + Clone,
) -> PyResult<Bound<'py, PyBytes>> {
    let length = pieces.clone().map(<[u8]>::len).sum();
    PyBytes::new_with(py, length, |mut out| {
        for piece in pieces {
            out.write_all(piece)?;
        }
        Ok(())
    })
}
