"""The figures that are compared, of those that `tarkib.evaluation.statistics` computes, and their titles."""

HEADLINE = {
    "accuracy": "accuracy",
    "accuracy_at_half": "accuracy at 0.5",
    "f1_macro": "F1 macro",
    "f1_micro": "F1 micro",
    "roc_auc": "ROC-AUC",
    "average_precision": "mAP",
}
"""What modes are compared by, with titles; ROC-AUC and mAP are macro. Of all figures here more is better."""

BY_CLASS = {"class_f1": "F1", "class_roc_auc": "ROC-AUC"}
"""What is told of each instrument."""

BY_POLYPHONY = {"polyphony_accuracy": "accuracy", "polyphony_f1_micro": "F1 micro"}
"""What is told of the clips in which so many instruments play."""
