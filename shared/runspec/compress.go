package runspec

// compressionFields say how the model becomes smaller than one that does as well.
func compressionFields() []Field {
	return []Field{
		{Name: "distill_teacher", Title: "Teacher", Type: Text, Advanced: true,
			Help:     "A finished run with the same classes, by number or id, whose answers are learned from beside the labels, so that a small base model does more of what a large one can. Empty: none.",
			defaults: [3]string{"", "", ""}, later: true, ref: func(r *Recipe) any { return &r.Teacher }},
		{Name: "distill_temperature", Title: "Teacher's softness", Type: Number, Min: 1, Max: 20, Advanced: true,
			Help:     "How much the teacher's answers are softened, so that what it finds nearly as likely is learned too.",
			defaults: [3]string{"4", "4", "4"}, later: true, before: "4", ref: func(r *Recipe) any { return &r.TeacherTemperature }},
		{Name: "distill_weight", Title: "Teacher's weight", Type: Number, Min: 0, Max: 1, Advanced: true,
			Help:     "How much the teacher's answers count; what is left to 1 is the labels'.",
			defaults: [3]string{"0.5", "0.5", "0.5"}, later: true, before: "0.5", ref: func(r *Recipe) any { return &r.TeacherWeight }},
		{Name: "prune", Title: "Pruning", Type: Number, Min: 0, Max: 0.9, Advanced: true,
			Help:     "The share of channels taken out of the blocks that fine-tuning adapts, for a smaller and faster model in every format. The least important go; fine-tuning makes up for them.",
			defaults: [3]string{"0", "0", "0"}, later: true, before: "0", ref: func(r *Recipe) any { return &r.Prune }},
	}
}
