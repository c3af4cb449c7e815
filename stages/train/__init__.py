"""Training of the localizer after Sárándi and Pons-Moll, "Neural Localizer Fields" (2024)."""
