//! The Python classes of request ids and row ids.
#![forbid(unsafe_code)]

use crate::ids;
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
        (id.cast_signed(), ids::base36(id))
    }
}

#[pyclass(module = "service._native")]
pub(super) struct RowIds(pub ids::RowIds);

#[pymethods]
impl RowIds {
    #[new]
    const fn new(start: u64, secret: [u8; ids::SECRET_BYTES]) -> Self {
        Self(ids::RowIds::new(start, secret))
    }
}
