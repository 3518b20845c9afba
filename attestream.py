"""attestream"""
