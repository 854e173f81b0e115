//! Ids, each by the object that gives them out.
#![forbid(unsafe_code)]

use crate::base36;
use crate::ids::{self, IdFault};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;

#[pyclass(module = "service._native")]
pub(super) struct RequestIds(ids::RequestIds);

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
pub(super) struct RowIds(ids::RowIds);

#[pymethods]
impl RowIds {
    #[new]
    fn new(worker: i64) -> PyResult<Self> {
        Ok(Self(ids::RowIds::new(worker)?))
    }

    pub fn take(&mut self, now_ms: i64, count: i64) -> PyResult<Vec<i64>> {
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
