"""Tarkib recognises the instruments of Persian music, several at once, in five-second clips."""
