package listing

// CheckPageData walks through the pages of a file; deep, as Check does, or as Open
// does.
func CheckPageData(data []byte, deep bool) error {
	look := lookEnds
	if deep {
		look = lookDeep
	}
	return guard(func() error { return checkPages(data, look) })
}

// CheckFile walks through the pages of the file at path as Open does.
func CheckFile(path string) error { return checkFile(path, lookEnds) }
