package evidence

// What took a report in: see [Report].
const (
	SensorSMTP   = "smtp"   // the trap
	SensorLMTP   = "lmtp"   // behind a mail server that held the session
	SensorMilter = "milter" // beside one
	SensorReport = "report" // handed in, by the command report for one
	SensorHTTPS  = "https"  // another site's, over the network
)

// Sensors are all that there are.
var Sensors = []string{SensorSMTP, SensorLMTP, SensorMilter, SensorReport, SensorHTTPS}
