// Package config reads the command line's options from their layers: a flag wins over the environment, the
// environment over the file that --config names, the file over the default. It says which layer a value came
// from, and shows secrets redacted. It refuses unknown names, a secret given twice in one layer, and values that
// do not parse; its errors name the flag and repeat no secret. It opens and connects nothing.
package config
