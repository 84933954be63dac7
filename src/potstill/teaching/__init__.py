"""Teaching teachers: models that read a query and a document together, trained on judged pairs with mined negatives."""
