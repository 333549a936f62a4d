//! Text in columns.

/// Columns as wide as what stands in them.
pub struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// Nothing but headings.
    pub fn new(headings: &[&str; N]) -> Self {
        Table { rows: vec![headings.map(str::to_owned)] }
    }

    /// One row more.
    pub fn row(&mut self, row: [String; N]) {
        self.rows.push(row);
    }

    /// The text.
    pub fn finish(self) -> String {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..N).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_their_headings() {
        let mut table = Table::new(&["A", "LONG", "C"]);
        table.row(["wide one".into(), "x".into(), "y".into()]);
        assert_eq!(table.finish(), "A         LONG  C\nwide one  x     y\n");
    }
}
