package store

import "testing"

func TestQuestionMarksBecomeDollars(t *testing.T) {
	for in, want := range map[string]string{
		`SELECT 1`:             `SELECT 1`,
		`a = ? AND b IN (?,?)`: `a = $1 AND b IN ($2,$3)`,
		`a = '?' AND b = ?`:    `a = '?' AND b = $1`,
		`a = 'it''s ?' OR b = ? -- not in comments`:  `a = 'it''s ?' OR b = $1 -- not in comments`,
		`INSERT INTO t VALUES ` + rowsOfValues(2, 2): `INSERT INTO t VALUES ($1,$2),($3,$4)`,
	} {
		if got := DollarPlaceholders(in); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
}
