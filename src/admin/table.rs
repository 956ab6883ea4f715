//! Columns as mqadmin prints them: each padded to its width, blanks between.
//!
//! Invariant: a value wider than its column pushes the rest to the right and is never cut: scripts
//! split these lines on blanks.

/// A column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    title: &'static str,
    width: usize,
    right: bool,
    blanks: usize,
}

impl Column {
    /// With so many blanks before the next one, where mqadmin does not leave two.
    pub(super) const fn then(self, blanks: usize) -> Column {
        Column { blanks, ..self }
    }
}

/// Flush left.
pub(super) const fn left(title: &'static str, width: usize) -> Column {
    Column { title, width, right: false, blanks: 2 }
}

/// Flush right.
pub(super) const fn right(title: &'static str, width: usize) -> Column {
    Column { title, width, right: true, blanks: 2 }
}

/// Head and rows as text.
pub(super) fn render(columns: &[Column], rows: &[Vec<String>]) -> String {
    let titles = columns.iter().map(|column| column.title.to_owned()).collect();
    rows_of(columns, &[titles]) + &rows_of(columns, rows)
}

/// Rows without a head.
pub(super) fn rows_of(columns: &[Column], rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for row in rows {
        assert_eq!(row.len(), columns.len(), "a row has a cell for every column");
        let mut line = String::new();
        for (column, cell) in columns.iter().zip(row) {
            let width = column.width;
            match column.right {
                true => line.push_str(&format!("{cell:>width$}")),
                false => line.push_str(&format!("{cell:<width$}")),
            }
            line.push_str(&" ".repeat(column.blanks));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_keep_their_width_and_cells_are_never_cut() {
        let columns = [left("#Name", 8), right("#TPS", 6).then(1), left("#Last", 0)];
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["a", "1.00", "x"]), row(["a-long-name", "2.00", ""])];
        assert_eq!(
            render(&columns, &rows),
            "#Name       #TPS #Last\na           1.00 x\na-long-name    2.00\n"
        );
    }
}
