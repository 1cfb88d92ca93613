package generator

type place struct{ city, state, zip string }

// coded is a term with its code in a public terminology.
type coded struct{ code, name string }

type measure struct {
	code, name, unit string
	low, high        float64
}

type medicine struct{ code, name, dosage string }

var families = []string{
	"Abernathy", "Aguilar", "Bauer", "Beaumont", "Bergström", "Blackwood", "Callahan", "Castellanos", "Chowdhury", "Dąbrowski",
	"Delacroix", "Eisenhower", "Fairweather", "Fitzgerald", "Galbraith", "Goldschmidt", "Hawthorne", "Hernández", "Ingebrigtsen", "Jankowski",
	"Kowalczyk", "Laurentis", "Lindqvist", "MacAllister", "Marchetti", "Montgomery", "Nakamura", "Núñez", "O'Callaghan", "Okonkwo",
	"Papadopoulos", "Pemberton", "Quintanilla", "Ravensworth", "Rodrigues", "Sandoval", "Schwarzenberg", "Sutherland", "Tikhonov", "Underwood",
	"Vandenberg", "Villanueva", "Wainwright", "Weatherby", "Whitlock", "Xiong", "Yamashita", "Zapatero", "Zielinski", "Østergaard",
}

var women = []string{
	"Adelaide", "Beatriz", "Clementine", "Delphine", "Esperanza", "Florence", "Genevieve", "Henrietta", "Imogen", "Josephine",
	"Katarzyna", "Leocadia", "Marguerite", "Nadezhda", "Ottoline", "Philippa", "Rosalind", "Seraphina", "Theodora", "Zoë",
}

var men = []string{
	"Alasdair", "Bartholomew", "Cornelius", "Demetrius", "Ezekiel", "Ferdinand", "Gilberto", "Humphrey", "Ignatius", "Jeremiah",
	"Konstantin", "Leopold", "Maximilian", "Nathaniel", "Octavio", "Percival", "Raimundo", "Sebastián", "Thaddeus", "Zebulon",
}

var streets = []string{
	"Amberfield", "Briarcliff", "Chesterbrook", "Dovecote", "Elderberry", "Foxglove", "Gooseneck", "Hollyhock", "Ironmonger", "Juniper Hill",
	"Kingfisher", "Larkspur", "Millstone", "Nightingale", "Orchard Bank", "Pebblebeach", "Quarrymen", "Rosewater", "Saltmarsh", "Thornbury",
}

var ways = []string{"Avenue", "Boulevard", "Close", "Court", "Drive", "Lane", "Road", "Street", "Terrace", "Way"}

var places = []place{
	{"Wakefield", "Massachusetts", "018"}, {"Northampton", "Massachusetts", "010"}, {"Burlington", "Vermont", "054"},
	{"Portsmouth", "New Hampshire", "038"}, {"Bridgeport", "Connecticut", "066"}, {"Poughkeepsie", "New York", "126"},
	{"Allentown", "Pennsylvania", "181"}, {"Wilmington", "Delaware", "198"}, {"Annapolis", "Maryland", "214"}, {"Charlottesville", "Virginia", "229"},
}

var diagnoses = []coded{
	{"38341003", "Hypertension"}, {"44054006", "Diabetes mellitus type 2"}, {"195967001", "Asthma"}, {"55822004", "Hyperlipidemia"},
	{"69896004", "Rheumatoid arthritis"}, {"13645005", "Chronic obstructive lung disease"}, {"40930008", "Hypothyroidism"},
	{"37796009", "Migraine"}, {"235595009", "Gastroesophageal reflux disease"}, {"49436004", "Atrial fibrillation"},
}

var measures = []measure{
	{"8302-2", "Body Height", "cm", 145, 200}, {"29463-7", "Body Weight", "kg", 45, 120}, {"8867-4", "Heart rate", "/min", 52, 110},
	{"8480-6", "Systolic blood pressure", "mm[Hg]", 95, 170}, {"8310-5", "Body temperature", "Cel", 36, 39},
}

var medicines = []medicine{
	{"314076", "lisinopril 10 MG Oral Tablet", "1 tablet in the morning"}, {"860975", "metformin hydrochloride 500 MG Oral Tablet", "1 tablet twice a day with meals"},
	{"259255", "atorvastatin 40 MG Oral Tablet", "1 tablet at night"}, {"966222", "levothyroxine sodium 0.075 MG Oral Tablet", "1 tablet before breakfast"},
	{"745679", "albuterol 0.09 MG/ACTUAT Metered Dose Inhaler", "2 puffs when needed"}, {"105585", "methotrexate 2.5 MG Oral Tablet", "4 tablets once a week"},
	{"312962", "sumatriptan 50 MG Oral Tablet", "1 tablet at the first sign of an attack"}, {"402014", "omeprazole 20 MG Delayed Release Oral Capsule", "1 capsule before breakfast"},
}

var complaints = []string{
	"shortness of breath on stairs", "recurring headache behind the left eye", "swelling of both ankles", "a dry cough at night",
	"stiff fingers in the morning", "palpitations after coffee", "heartburn when lying down", "numbness in the right foot",
}

var plans = []string{
	"Blood drawn for a full panel, review next week.", "Advised salt restriction and a walk of thirty minutes every day.",
	"Referred to the cardiology clinic.", "Spirometry arranged, inhaler technique shown.",
}

func medicineNamed(name string) medicine {
	for _, m := range medicines {
		if m.name == name {
			return m
		}
	}
	return medicine{name: name}
}
