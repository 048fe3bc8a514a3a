package config

import "backscatter/zonefile"

// LoadFrom is Load under a given environment and with another system file.
func LoadFrom(path string, environ []string, system string) (*Config, error) {
	return load(path, environ, system)
}

// DefaultFormats are the files that an export has that says nothing.
func DefaultFormats() []zonefile.Format { return defaultExport().Formats }
