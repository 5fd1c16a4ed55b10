"""Why a network called a diagnosis: relevance, its averages, its intervals and its controls."""
