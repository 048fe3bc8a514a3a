package listing

func imageName(path string) string { return path + ".image" }

func dropImage(path string) error { return removeAll(imageName(path)) }
