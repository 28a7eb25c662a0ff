package edge

// EngineUnderTest is the engine that this run of the suite is for.
func EngineUnderTest() Engine { return engineUnderTest }
