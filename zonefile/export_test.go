package zonefile

// Check is what the publisher reads its files back with.
var Check = check
