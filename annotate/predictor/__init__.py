"""The live SVM (App. A.1): versions, refits, audit, rollback, learning curve."""
