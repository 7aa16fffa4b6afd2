"""Where configuration and store meet: what each stage's key is made of, how it is built, how it is loaded."""
