//! Columns as mqadmin prints them: each padded to its width, two blanks between.
//!
//! Invariant: a value wider than its column pushes the rest to the right and is never cut: scripts
//! split these lines on blanks.

/// A column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    title: &'static str,
    width: usize,
    right: bool,
}

/// Flush left.
pub(super) const fn left(title: &'static str, width: usize) -> Column {
    Column { title, width, right: false }
}

/// Flush right.
pub(super) const fn right(title: &'static str, width: usize) -> Column {
    Column { title, width, right: true }
}

/// Head and rows as text.
pub(super) fn render(columns: &[Column], rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    let titles: Vec<String> = columns.iter().map(|column| column.title.to_owned()).collect();
    for row in std::iter::once(&titles).chain(rows) {
        assert_eq!(row.len(), columns.len(), "a row has a cell for every column");
        let mut line = String::new();
        for (column, cell) in columns.iter().zip(row) {
            let width = column.width;
            match column.right {
                true => line.push_str(&format!("{cell:>width$}  ")),
                false => line.push_str(&format!("{cell:<width$}  ")),
            }
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
        let columns = [left("#Name", 8), right("#TPS", 6)];
        let rows = [
            vec!["a".to_owned(), "1.00".to_owned()],
            vec!["a-long-name".to_owned(), "2.00".to_owned()],
        ];
        assert_eq!(
            render(&columns, &rows),
            "#Name       #TPS\na           1.00\na-long-name    2.00\n"
        );
    }
}
