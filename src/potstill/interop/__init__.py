"""Objectives inside other people's tools."""
