"""Our agent as a package, for systems that its users install themselves."""
